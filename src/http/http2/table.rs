//! The tables of fields that blocks refer to (RFC 7541, section 2.3): how long the names are that they
//! have, and how large the dynamic one is, which decides what is in it.

use std::collections::VecDeque;

/// The size of the dynamic table that we allow, which is the usual one, since we say nothing else.
pub(super) const LARGEST: u32 = 4096;

/// What an entry counts for beside its bytes (section 4.1).
const ENTRY_SIZE: u32 = 32;

/// The lengths of the names in the static table (appendix A).
const STATIC: [u16; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, // pseudo-fields
    14, 15, 15, 13, 6, 27, 3, 5, 13, 13, // accept-charset to cache-control
    19, 16, 16, 14, 16, 13, 12, 6, // content-disposition to cookie
    4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, // date to if-unmodified-since
    13, 4, 8, 12, 18, 19, 5, 7, 7, 11, // last-modified to retry-after
    6, 10, 25, 17, 10, 4, 3, 16, // server to www-authenticate
];

/// Of those the last one that is a pseudo-field.
const LAST_PSEUDO: usize = 14;

/// The name of a field.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Name {
    pub(super) length: u32,
    pub(super) is_pseudo: bool,
}

/// A field that is remembered. None is larger than the table.
#[derive(Clone, Copy, Debug)]
struct Entry {
    size: u16,
    name_length: u16,
    is_pseudo: bool,
}

/// Both tables.
#[derive(Debug)]
pub(super) struct Table {
    /// The dynamic one, the latest entry first. Nothing is allocated before there is one.
    entries: VecDeque<Entry>,
    size: u32,
    most: u32,
}

impl Default for Table {
    fn default() -> Self {
        Table { entries: VecDeque::new(), size: 0, most: LARGEST }
    }
}

impl Table {
    /// Is there such a field? They are numbered from 1.
    pub(super) fn has(&self, index: u32) -> bool {
        (index as usize).wrapping_sub(1) < STATIC.len() + self.entries.len()
    }

    /// The name of a field.
    pub(super) fn name(&self, index: u32) -> Option<Name> {
        let index = index as usize;
        let at = index.checked_sub(1)?;
        if let Some(&length) = STATIC.get(at) {
            return Some(Name { length: length.into(), is_pseudo: index <= LAST_PSEUDO });
        }
        let entry = self.entries.get(at - STATIC.len())?;
        Some(Name { length: entry.name_length.into(), is_pseudo: entry.is_pseudo })
    }

    /// A field is to be remembered, and others are forgotten for it. One that is larger than the
    /// table is not, but they are (section 4.4).
    pub(super) fn insert(&mut self, name: Name, value_length: u32) {
        let size = name.length + value_length + ENTRY_SIZE;
        self.forget(self.most.saturating_sub(size));
        if size > self.most {
            return;
        }
        if self.entries.capacity() == 0 {
            self.entries.reserve_exact((LARGEST / ENTRY_SIZE) as usize); // there are never more
        }
        self.size += size;
        self.entries.push_front(Entry {
            size: size as u16,
            name_length: name.length as u16,
            is_pseudo: name.is_pseudo,
        });
    }

    /// The dynamic table becomes smaller or larger.
    pub(super) fn resize(&mut self, most: u32) {
        self.most = most;
        self.forget(most);
    }

    /// Forgets the oldest entries until the others are no larger than this.
    fn forget(&mut self, most: u32) {
        while self.size > most
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= u32::from(entry.size);
        }
    }
}

#[cfg(test)]
mod tests {
    use httlib_hpack::Decoder;

    use super::*;

    #[test]
    fn the_static_table_has_the_names_of_the_rfc() {
        let table = Table::default();
        for index in 1..=STATIC.len() {
            let mut fields = Vec::new();
            Decoder::default().decode(&mut vec![0x80 | index as u8], &mut fields).unwrap();
            let (name, ..) = &fields[0];
            let known = table.name(index as u32).unwrap();
            assert_eq!(known.length as usize, name.len(), "{index}");
            assert_eq!(known.is_pseudo, name.starts_with(b":"), "{index}");
        }
        for index in [0, 62, u32::MAX] {
            assert!(!table.has(index) && table.name(index).is_none(), "{index}");
        }
    }

    #[test]
    fn there_is_room_for_so_many_bytes() {
        let name = |length| Name { length, is_pseudo: length % 2 == 0 };
        let lengths = |table: &Table| {
            (62..).map_while(|index| table.name(index)).map(|name| name.length).collect::<Vec<_>>()
        };
        let mut table = Table::default();
        table.insert(name(1), 1000 - 33);
        table.insert(name(2), 3096 - 34);
        assert_eq!(lengths(&table), [2, 1], "it is full");
        assert!(table.has(63) && !table.has(64));
        assert!(table.name(62).unwrap().is_pseudo && !table.name(63).unwrap().is_pseudo);
        table.insert(name(3), 0);
        assert_eq!(lengths(&table), [3, 2], "the oldest one goes");
        table.resize(3096 + 34);
        assert_eq!(lengths(&table), [3]);
        table.resize(LARGEST);
        assert_eq!(lengths(&table), [3], "what is forgotten does not come back");
        table.insert(name(4), LARGEST - 36);
        assert_eq!(lengths(&table), [4], "as large as the table");
        table.insert(name(5), LARGEST - 36);
        assert_eq!(lengths(&table), [0; 0], "larger than the table");
        for _ in 0..1000 {
            table.insert(name(0), 0);
        }
        assert_eq!(lengths(&table), [0; 128]);
        assert_eq!((table.size, table.entries.capacity()), (LARGEST, 128));
        table.resize(0);
        assert_eq!((table.size, table.entries.len()), (0, 0));
    }
}
