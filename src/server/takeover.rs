//! Another process of ours takes the listening sockets over, and this one ends: an upgrade of the
//! binary without a connection that is refused or reset.
//!
//! The old process waits at a Unix socket in `server.state_dir`. The new one connects and is given
//! every listening socket; a connection that has not been accepted yet waits in one of them, and
//! does not notice. From then on both accept. When the new one serves it says so; only then does
//! the old one stop to accept, and end when its clients have. If the new one ends before, nothing
//! has happened.
//!
//! ```text
//! old: VERSION, then SOCKET or ADMIN with a descriptor for each of them, then END
//! new: READY when it serves
//! ```

use std::fs;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::net::UnixListener;

use super::{Inherited, Listeners, lock};

const VERSION: u8 = b'1';
const SOCKET: u8 = b'S';
const ADMIN: u8 = b'A';
const END: u8 = b'E';
const READY: u8 = b'R';

/// For a message from the other process. Until it serves it may have to load a lot.
const PATIENCE: Duration = Duration::from_secs(30);

/// More sockets than anybody has.
const MAX_SOCKETS: usize = 100_000;

/// Room for one descriptor.
const SPACE: usize = rustix::cmsg_space!(ScmRights(1));

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("takeover.sock")
}

/// The old process, which waits to hear that we serve.
#[derive(Debug)]
pub struct Predecessor(UnixStream);

impl Predecessor {
    /// We serve: it can go.
    pub fn release(mut self) -> io::Result<()> {
        self.0.write_all(&[READY])
    }
}

/// Asks the process that serves with this `state_dir` for its listening sockets.
pub fn take_over(state_dir: &Path) -> io::Result<(Inherited, Predecessor)> {
    let stream = UnixStream::connect(path(state_dir))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut sockets, mut admin) = (Vec::new(), None);
    if !matches!(receive(&stream)?, (VERSION, None)) {
        return Err(io::Error::other("the process that serves hands over in another way"));
    }
    loop {
        match receive(&stream)? {
            (SOCKET, Some(socket)) if sockets.len() < MAX_SOCKETS => {
                sockets.push(TcpListener::from(socket));
            }
            (ADMIN, Some(socket)) => admin = Some(TcpListener::from(socket)),
            (END, None) => {
                let inherited = Inherited::new(sockets).with_admin(admin);
                return Ok((inherited, Predecessor(stream)));
            }
            _ => return Err(io::Error::other("what was handed over makes no sense")),
        }
    }
}

/// Waits for a process that takes over, and gives it what it needs. Ends when it has said that it
/// serves, or this process cannot wait for it.
pub(super) async fn offer(
    state_dir: PathBuf,
    listeners: Listeners,
    admin: Option<TcpListener>,
    taken: impl FnOnce() + Send,
) {
    let admin = Arc::new(admin);
    let path = path(&state_dir);
    let (listener, name) = match listen(&path) {
        Ok(listening) => listening,
        Err(error) => {
            let path = path.display();
            return tracing::warn!(%error, %path, "no process will be able to take over");
        }
    };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        let (listeners, admin) = (listeners.clone(), admin.clone());
        // Blocking, on a thread of its own: it happens once.
        let hand_over = move || hand_over(stream.into_std()?, &listeners, admin.as_ref().as_ref());
        let handed = tokio::task::spawn_blocking(hand_over);
        match handed.await {
            Ok(Ok(())) => break,
            Ok(Err(error)) => {
                tracing::warn!(%error, "a process wanted to take over, and does not serve");
            }
            Err(error) => tracing::error!(%error, "handing over has failed"),
        }
    }
    name.leave();
    taken();
}

/// The name of our socket. Nobody is to find it when we are gone.
struct Name {
    /// `None`: it is the successor's by now, or will be.
    path: Option<PathBuf>,
    /// Device and inode of our socket, which tell it from another one of this name.
    identity: (u64, u64),
}

impl Name {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Name { path: Some(path.to_owned()), identity: Name::identity(path)? })
    }

    fn identity(path: &Path) -> io::Result<(u64, u64)> {
        fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
    }

    /// Leaves it to the successor, which puts its own socket there: nobody finds none meanwhile.
    fn leave(mut self) {
        self.path = None;
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let Some(path) = self.path.take() else { return };
        if Name::identity(&path).is_ok_and(|found| found == self.identity) {
            // If this fails it is left there, and refuses whoever connects.
            let _ = fs::remove_file(path);
        }
    }
}

fn listen(path: &Path) -> io::Result<(UnixListener, Name)> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    // Bound under a name of its own and then renamed: who held the name keeps its socket, which
    // nobody finds any more, and nobody finds none.
    let fresh = path.with_extension(format!("sock.{}", std::process::id()));
    let _ = fs::remove_file(&fresh); // of an earlier process with this number
    let listener = UnixListener::bind(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    fs::rename(&fresh, path)?;
    Ok((listener, Name::new(path)?))
}

fn hand_over(
    stream: UnixStream,
    listeners: &Listeners,
    admin: Option<&TcpListener>,
) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let copies = |listener: &super::Listener| -> io::Result<Vec<TcpListener>> {
        listener.sockets.iter().map(TcpListener::try_clone).collect()
    };
    let sockets = lock(listeners).iter().map(copies).collect::<io::Result<Vec<_>>>()?;
    send(&stream, VERSION, None)?;
    for socket in sockets.iter().flatten() {
        send(&stream, SOCKET, Some(socket.as_fd()))?;
    }
    if let Some(admin) = admin {
        send(&stream, ADMIN, Some(admin.as_fd()))?;
    }
    send(&stream, END, None)?;
    let mut answer = [0];
    (&stream).read_exact(&mut answer)?;
    match answer {
        [READY] => Ok(()),
        _ => Err(io::Error::other("it says something else")),
    }
}

fn send(stream: &UnixStream, kind: u8, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut with = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = descriptor.into_iter().collect();
    if !descriptors.is_empty() && !with.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    match sendmsg(stream, &[IoSlice::new(&[kind])], &mut with, SendFlags::NOSIGNAL)? {
        1 => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

fn receive(stream: &UnixStream) -> io::Result<(u8, Option<OwnedFd>)> {
    let mut kind = [0];
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut kind)];
    let received = recvmsg(stream, &mut into, &mut with, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut descriptor = None;
    for message in with.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            descriptor = descriptors.last();
        }
    }
    Ok((kind[0], descriptor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_go_from_one_to_the_other() {
        let (one, other) = UnixStream::pair().unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        send(&one, SOCKET, Some(socket.as_fd())).unwrap();
        send(&one, END, None).unwrap();
        let (kind, descriptor) = receive(&other).unwrap();
        let received = TcpListener::from(descriptor.unwrap());
        assert_eq!(kind, SOCKET);
        assert_eq!(received.local_addr().unwrap(), socket.local_addr().unwrap());
        assert!(matches!(receive(&other), Ok((END, None))));
        drop(one);
        assert!(receive(&other).is_err());
    }
}
