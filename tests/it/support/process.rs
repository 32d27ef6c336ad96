use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::wait_until;

/// The program under test.
pub const STICKLER: &str = env!("CARGO_BIN_EXE_stickler");

/// A child process, killed when it is dropped. Its standard input stays open until then.
pub struct Process {
    child: Child,
    stdout: Output,
    stderr: Output,
}

/// What a process that has ended leaves behind.
#[derive(Debug)]
pub struct Ended {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    /// Runs `stickler` with these arguments.
    #[track_caller]
    pub fn stickler(arguments: &[&str]) -> Self {
        Process::start(Command::new(STICKLER).args(arguments))
    }

    /// Runs a program that comes with this Debian package.
    #[track_caller]
    pub fn of_package(package: &str, command: &mut Command) -> Self {
        let program = command.get_program().to_owned();
        let missing = || panic!("{program:?} cannot be run: apt-get install {package}");
        Process::try_start(command).unwrap_or_else(|_| missing())
    }

    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        Process::try_start(command).unwrap()
    }

    fn try_start(command: &mut Command) -> std::io::Result<Self> {
        Process::spawn(command.stderr(Stdio::piped()))
    }

    /// Starts a process whose standard error somebody else takes.
    #[track_caller]
    pub fn with_stderr(command: &mut Command, stderr: impl Into<Stdio>) -> Self {
        Process::spawn(command.stderr(stderr)).unwrap()
    }

    fn spawn(command: &mut Command) -> std::io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = Output::of(child.stdout.take());
        let stderr = Output::of(child.stderr.take());
        Ok(Process { child, stdout, stderr })
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until it says that it listens, and gives the address.
    #[track_caller]
    pub fn listening(&mut self) -> SocketAddr {
        let mut address = None;
        wait_until("the process listens", || {
            let said = format!("{}{}", self.stdout(), self.stderr());
            assert!(!self.has_ended(), "it has ended: {said}");
            // The line must be whole, or the port may not be.
            address = said.lines().filter(|_| said.ends_with('\n')).find_map(address_in);
            address.is_some()
        });
        address.unwrap()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// How much of its memory is in RAM, in bytes.
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub fn resident_memory(&self) -> usize {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// Sends it a signal: `TERM`, `INT`, `HUP`.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -s {name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Closes its standard input.
    pub fn end_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        wait_until("the process ends", || self.has_ended());
        let status: ExitStatus = self.child.wait().unwrap();
        let (stdout, stderr) = (self.stdout.all(), self.stderr.all());
        Ended { code: status.code(), stdout, stderr }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs `stickler` with these arguments until it ends.
#[track_caller]
pub fn stickler(arguments: &[&str]) -> Ended {
    Process::stickler(arguments).end()
}

/// A demo app server as a child process. It listens at this address.
#[track_caller]
pub fn app_process(name: &str, listen: &str) -> (Process, SocketAddr) {
    app_process_with(name, listen, &[])
}

/// The same with more options.
#[track_caller]
pub fn app_process_with(name: &str, listen: &str, options: &[&str]) -> (Process, SocketAddr) {
    let command = ["app", "--name", name, "--listen", listen, "--exit-with-parent"];
    let mut process = Process::stickler(&[&command[..], options].concat());
    let address = process.listening();
    (process, address)
}

/// The address in `listening on http://127.0.0.1:80` and the like.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on ")?;
    let rest = rest.strip_prefix("http://").unwrap_or(rest);
    rest.split(['"', ' ']).next()?.parse().ok()
}

/// What comes out of a pipe, read as it comes, so that the process never waits for us.
struct Output {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    /// What comes out of this pipe; nothing, if there is none.
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let text: Arc<Mutex<String>> = Arc::default();
        let kept = text.clone();
        let reader = thread::spawn(move || {
            let Some(pipe) = pipe else { return };
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while matches!(pipe.read_until(b'\n', &mut line), Ok(length) if length > 0) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Output { text, reader: Some(reader) }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// All of it, when the process has ended.
    fn all(&mut self) -> String {
        let reader = self.reader.take().unwrap();
        wait_until("the pipe ends", || reader.is_finished());
        self.text()
    }
}
