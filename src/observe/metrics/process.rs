//! What the operating system says about this process, under the names that every Prometheus client
//! library gives it. Only Linux is asked.

use super::text::{Kind, Text};

/// What is known of the process.
#[derive(Debug, Default)]
struct Figures {
    cpu_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    threads: i64,
    open_fds: Option<usize>,
    max_fds: Option<u64>,
    start_seconds: Option<u64>,
}

#[cfg(target_os = "linux")]
fn figures() -> procfs::ProcResult<Figures> {
    use procfs::WithCurrentSystemInfo;
    use procfs::process::{LimitValue, Process};

    let process = Process::myself()?;
    let stat = process.stat()?;
    let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
    let limit = process.limits().map(|limits| limits.max_open_files.soft_limit);
    let boot = procfs::boot_time_secs();
    Ok(Figures {
        cpu_seconds: seconds(stat.utime + stat.stime),
        resident_bytes: stat.rss_bytes().get(),
        virtual_bytes: stat.vsize,
        threads: stat.num_threads,
        open_fds: process.fd_count().ok(),
        max_fds: match limit {
            Ok(LimitValue::Value(limit)) => Some(limit),
            Ok(LimitValue::Unlimited) => Some(u64::MAX),
            Err(_) => None,
        },
        start_seconds: boot.ok().map(|boot| boot + seconds(stat.starttime) as u64),
    })
}

#[cfg(not(target_os = "linux"))]
fn figures() -> Result<Figures, ()> {
    Err(())
}

/// Writes what is known of the process; nothing if that is nothing.
pub(super) fn write(text: &mut Text) {
    let Ok(figures) = figures() else { return };
    text.metric("process_cpu_seconds", Kind::Counter, "CPU time of the process.");
    text.sample(&[], figures.cpu_seconds);
    text.metric("process_resident_memory_bytes", Kind::Gauge, "Memory that is in RAM.");
    text.sample(&[], figures.resident_bytes);
    text.metric("process_virtual_memory_bytes", Kind::Gauge, "Memory that is mapped.");
    text.sample(&[], figures.virtual_bytes);
    text.metric("process_threads", Kind::Gauge, "Threads of the process.");
    text.sample(&[], figures.threads);
    if let Some(open) = figures.open_fds {
        text.metric("process_open_fds", Kind::Gauge, "Descriptors that are open.");
        text.sample(&[], open);
    }
    if let Some(max) = figures.max_fds {
        text.metric("process_max_fds", Kind::Gauge, "Descriptors that may be open.");
        text.sample(&[], max);
    }
    if let Some(start) = figures.start_seconds {
        let help = "When the process was started, in seconds since 1970.";
        text.metric("process_start_time_seconds", Kind::Gauge, help);
        text.sample(&[], start);
    }
}
