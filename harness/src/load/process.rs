//! Processor time and memory of a process, as Linux tells them. Elsewhere there are none.

use serde::Serialize;

/// Ticks of a second in `/proc/PID/stat`: fixed by the kernel's interface to programs, whatever its own clock does.
const TICKS_PER_SEC: f64 = 100.0;

/// A process at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessFigures {
    /// Processor time so far in seconds, all threads, user and system.
    pub cpu_secs: f64,
    /// Memory now, in KiB.
    pub memory_kib: u64,
    /// The most memory so far, in KiB.
    pub memory_peak_kib: u64,
}

/// What a process used during a round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ProcessUse {
    /// Processor time in seconds.
    pub cpu_secs: f64,
    /// Processors' worth of it: 1.0 is one processor busy all the time.
    pub cpus: f64,
    /// The most memory so far, in KiB.
    pub memory_peak_kib: u64,
}

impl ProcessFigures {
    /// Of a process; `None` where it cannot be told.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Self::read(&stat, &status)
    }

    fn read(stat: &str, status: &str) -> Option<Self> {
        // The name in parentheses may hold spaces and parentheses; the fields after it do not.
        let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix("kB")?.trim().parse().ok()
        };
        Some(Self {
            cpu_secs: (ticks(11)? + ticks(12)?) as f64 / TICKS_PER_SEC,
            memory_kib: kib("VmRSS")?,
            memory_peak_kib: kib("VmHWM")?,
        })
    }

    /// What was used since `before`, within so many seconds of real time.
    pub fn since(self, before: Self, wall_secs: f64) -> ProcessUse {
        let cpu_secs = self.cpu_secs - before.cpu_secs;
        let cpus = if wall_secs > 0.0 { cpu_secs / wall_secs } else { 0.0 };
        ProcessUse { cpu_secs, cpus, memory_peak_kib: self.memory_peak_kib }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_writes() {
        let stat = "12 (a (b) c) S 1 12 12 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 100 1 1";
        let status = "Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\n";
        let figures = ProcessFigures::read(stat, status).unwrap();
        assert_eq!(figures, ProcessFigures { cpu_secs: 3.0, memory_kib: 1024, memory_peak_kib: 2048 });
        let later = ProcessFigures { cpu_secs: 4.0, ..figures };
        assert_eq!(later.since(figures, 2.0), ProcessUse { cpu_secs: 1.0, cpus: 0.5, memory_peak_kib: 2048 });
        assert_eq!(ProcessFigures::read("", ""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_figures() {
        assert!(ProcessFigures::of(std::process::id()).unwrap().memory_kib > 0);
    }
}
