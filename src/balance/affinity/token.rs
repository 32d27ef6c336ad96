//! The token: a [`Grant`], sealed, as the client carries it.
//!
//! ```text
//! version  nonce      sealed with XChaCha20-Poly1305, the pool's name as associated data
//! 1 byte   24 bytes   backend 8 | session 8 | issued 6 | refreshed 6 | reserved 4   + tag 16
//! ```
//!
//! in base64url without padding: always [`TOKEN_LEN`] characters, so that not even its length says
//! anything. Times are milliseconds since the Unix epoch, because several proxies that share a key
//! must agree on them. Numbers are little-endian. The nonce is long enough to be drawn at random
//! by any number of proxies (draft-irtf-cfrg-xchacha).
//!
//! Whatever is not exactly this, or was not sealed with one of our keys for this pool, opens to
//! nothing: the request is then free.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};

use super::{Grant, SessionId};
use crate::balance::{BackendId, Rng, Timestamp};

const VERSION: u8 = 1;
const NONCE: usize = 24;
const SEALED: usize = 32;
const TAG: usize = 16;
const RAW: usize = 1 + NONCE + SEALED + TAG;

/// Length of a token's text.
pub const TOKEN_LEN: usize = (RAW * 8).div_ceil(6);

/// A token's text: ASCII letters, digits, `-` and `_`.
pub type TokenText = [u8; TOKEN_LEN];

/// A secret that seals and opens tokens. Its bytes are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; Key::LEN]);

impl Key {
    /// Length of a key in bytes.
    pub const LEN: usize = 32;

    /// A new key. The generator must be a cryptographic one.
    pub fn random(rng: &mut dyn Rng) -> Self {
        let mut bytes = [0; Key::LEN];
        rng.fill_bytes(&mut bytes);
        Key(bytes)
    }

    /// Reads a key from its base64 text, as `openssl rand -base64 32` prints it.
    pub fn from_base64(text: &str) -> Result<Self, String> {
        // The decoder's message quotes what it stumbles over.
        let bytes = STANDARD.decode(text.trim()).map_err(|_| "this is not base64")?;
        let len = bytes.len();
        let bytes = bytes.try_into().map_err(|_| {
            format!(
                "a key is {} bytes in base64, this is {len} (openssl rand -base64 32)",
                Key::LEN
            )
        })?;
        Ok(Key(bytes))
    }

    /// The key's base64 text, for the key file.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(secret)")
    }
}

/// The keys in use: the first one seals, all of them open. To rotate, put a new one in front and
/// take the old one out when the last session that it sealed is over.
#[derive(Clone)]
pub struct Keyring(Vec<XChaCha20Poly1305>);

impl Keyring {
    /// A keyring of these keys.
    ///
    /// # Panics
    ///
    /// If there is no key at all: who builds a keyring has made sure of one.
    pub fn new(keys: &[Key]) -> Self {
        assert!(!keys.is_empty(), "a keyring needs a key that seals");
        Keyring(keys.iter().map(|key| XChaCha20Poly1305::new((&key.0).into())).collect())
    }

    /// Seals a grant for `pool`. The generator must be a cryptographic one.
    pub fn seal(&self, pool: &str, grant: &Grant, rng: &mut dyn Rng) -> TokenText {
        let mut raw = [0; RAW];
        raw[0] = VERSION;
        rng.fill_bytes(&mut raw[1..][..NONCE]);
        let (head, body) = raw.split_at_mut(1 + NONCE);
        let (sealed, tag) = body.split_at_mut(SEALED);
        write_grant(grant, sealed);
        let nonce = XNonce::from(array(&head[1..]));
        #[expect(clippy::expect_used, reason = "fails for texts beyond 256 GiB only")]
        let sum = self.0[0]
            .encrypt_inout_detached(&nonce, pool.as_bytes(), sealed.into())
            .expect("32 bytes can be sealed");
        tag.copy_from_slice(&sum);
        let mut text = [0; TOKEN_LEN];
        #[expect(clippy::expect_used, reason = "TOKEN_LEN is the encoded length of RAW bytes")]
        URL_SAFE_NO_PAD.encode_slice(raw, &mut text).expect("a token fits");
        text
    }

    /// Opens a token of `pool`; `None` for anything that is not one.
    pub fn open(&self, pool: &str, text: &[u8]) -> Option<Grant> {
        // Length and version first: the cheap tests keep the expensive one for likely tokens.
        let mut raw = [0; RAW];
        if text.len() != TOKEN_LEN
            || URL_SAFE_NO_PAD.decode_slice_unchecked(text, &mut raw).ok()? != RAW
            || raw[0] != VERSION
        {
            return None;
        }
        let nonce = XNonce::from(array(&raw[1..][..NONCE]));
        let tag = Tag::from(array(&raw[1 + NONCE + SEALED..]));
        self.0.iter().find_map(|key| {
            let mut opened: [u8; SEALED] = array(&raw[1 + NONCE..][..SEALED]);
            let aad = pool.as_bytes();
            key.decrypt_inout_detached(&nonce, aad, opened.as_mut_slice().into(), &tag).ok()?;
            read_grant(&opened)
        })
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keyring({} keys)", self.0.len())
    }
}

fn write_grant(grant: &Grant, to: &mut [u8]) {
    to[..8].copy_from_slice(&grant.backend.to_bits().to_le_bytes());
    to[8..16].copy_from_slice(&grant.session.to_bits().to_le_bytes());
    to[16..22].copy_from_slice(&grant.issued.as_millis().to_le_bytes()[..6]);
    to[22..28].copy_from_slice(&grant.refreshed.as_millis().to_le_bytes()[..6]);
    to[28..].fill(0);
}

fn read_grant(from: &[u8; SEALED]) -> Option<Grant> {
    let number = |at: usize, len: usize| {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(&from[at..at + len]);
        u64::from_le_bytes(bytes)
    };
    // What is reserved today may forbid something tomorrow.
    (number(28, 4) == 0).then(|| Grant {
        backend: BackendId::from_bits(number(0, 8)),
        session: SessionId::from_bits(number(8, 8)),
        issued: Timestamp::from_millis(number(16, 6)),
        refreshed: Timestamp::from_millis(number(22, 6)),
    })
}

fn array<const N: usize>(slice: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(slice);
    array
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::balancer::tests::rng;
    use proptest::prelude::*;

    fn keyring(seeds: &[u64]) -> Keyring {
        Keyring::new(&seeds.iter().map(|&s| Key::random(&mut rng(s))).collect::<Vec<_>>())
    }

    fn grant() -> Grant {
        Grant {
            backend: BackendId::new("shop", "shop-1"),
            session: SessionId::from_bits(0x0123_4567_89ab_cdef),
            issued: Timestamp::from_millis(1_790_000_000_123),
            refreshed: Timestamp::from_millis(1_790_000_777_456),
        }
    }

    #[test]
    fn what_is_sealed_opens() {
        let keys = keyring(&[1]);
        let text = keys.seal("shop", &grant(), &mut rng(9));
        assert_eq!(keys.open("shop", &text), Some(grant()));
        assert_ne!(text, keys.seal("shop", &grant(), &mut rng(10)), "the nonce is fresh");
    }

    #[test]
    fn a_token_of_another_pool_or_key_does_not_open() {
        let text = keyring(&[1]).seal("shop", &grant(), &mut rng(9));
        assert_eq!(keyring(&[1]).open("api", &text), None);
        assert_eq!(keyring(&[2]).open("shop", &text), None);
    }

    #[test]
    fn keys_rotate() {
        let (old, both, new) = (keyring(&[1]), keyring(&[2, 1]), keyring(&[2]));
        let sealed_before = old.seal("shop", &grant(), &mut rng(9));
        assert_eq!(both.open("shop", &sealed_before), Some(grant()));
        let sealed_after = both.seal("shop", &grant(), &mut rng(9));
        assert_eq!(new.open("shop", &sealed_after), Some(grant()));
        assert_eq!(old.open("shop", &sealed_after), None);
    }

    #[test]
    fn every_single_changed_character_is_noticed() {
        let keys = keyring(&[1]);
        let text = keys.seal("shop", &grant(), &mut rng(9));
        for i in 0..TOKEN_LEN {
            let mut changed = text;
            changed[i] = if text[i] == b'A' { b'B' } else { b'A' };
            assert_eq!(keys.open("shop", &changed), None, "character {i}");
        }
    }

    #[test]
    fn lengths_are_checked_before_anything_else() {
        let keys = keyring(&[1]);
        let text = keys.seal("shop", &grant(), &mut rng(9));
        assert_eq!(keys.open("shop", &text[..TOKEN_LEN - 1]), None);
        assert_eq!(keys.open("shop", &[&text[..], b"A"].concat()), None);
        assert_eq!(keys.open("shop", b""), None);
    }

    #[test]
    fn keys_are_read_strictly_and_never_shown() {
        let key = Key::random(&mut rng(1));
        assert_eq!(Key::from_base64(&format!(" {}\n", key.to_base64())), Ok(key.clone()));
        assert!(Key::from_base64("c2hvcnQ=").unwrap_err().contains("this is 5"));
        assert!(Key::from_base64("not base64!").is_err());
        assert_eq!(format!("{key:?}"), "Key(secret)");
        assert_eq!(format!("{:?}", keyring(&[1, 2])), "Keyring(2 keys)");
    }

    proptest! {
        #[test]
        fn nothing_else_opens_or_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(keyring(&[1, 2]).open("shop", &text), None);
        }

        #[test]
        fn any_grant_survives(backend: u64, session: u64, issued in 0u64..1 << 43, age in 0u64..1 << 40) {
            let grant = Grant {
                backend: BackendId::from_bits(backend),
                session: SessionId::from_bits(session),
                issued: Timestamp::from_millis(issued),
                refreshed: Timestamp::from_millis(issued + age),
            };
            let keys = keyring(&[1]);
            prop_assert_eq!(keys.open("p", &keys.seal("p", &grant, &mut rng(session))), Some(grant));
        }
    }
}
