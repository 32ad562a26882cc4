//! The folder of `--report`: `report.html`, `report.json`, `junit.xml` and a recording for each scenario.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use ackscope_protocol::trace::TRACE_VERSION;
use serde::Serialize;

use super::html::html;
use super::json::JsonReports;
use super::junit::junit;
use crate::scenario::outcome::RunReport;

/// Why the report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {reason}", path.display())]
pub struct WriteError {
    /// The file or folder.
    pub path: PathBuf,
    /// Why.
    pub reason: io::Error,
}

/// The first line of a recording; every further line is one event.
#[derive(Debug, Serialize)]
struct TraceHeader<'a> {
    trace_version: u32,
    ackscope_version: &'static str,
    scenario: &'a str,
    backend: &'static str,
    events: usize,
}

/// Writes everything into a folder, which is made if need be. Gives the files that were written.
///
/// One scenario's recording is `trace.jsonl`; of several, the second is `trace-2.jsonl` and so on.
pub fn write_report(folder: &Path, reports: &[RunReport]) -> Result<Vec<PathBuf>, WriteError> {
    let mut written = Vec::new();
    fs::create_dir_all(folder).map_err(|reason| WriteError { path: folder.to_owned(), reason })?;
    let mut write = |name: String, fill: &dyn Fn(&mut BufWriter<File>) -> io::Result<()>| {
        let path = folder.join(name);
        let result = File::create(&path).and_then(|file| {
            let mut file = BufWriter::new(file);
            fill(&mut file)?;
            file.flush()
        });
        written.push(path.clone());
        result.map_err(|reason| WriteError { path, reason })
    };

    write("report.html".to_owned(), &|file| file.write_all(html(reports, trace_name).as_bytes()))?;
    write("report.json".to_owned(), &|file| {
        serde_json::to_writer_pretty(&mut *file, &JsonReports::of(reports))?;
        writeln!(file)
    })?;
    write("junit.xml".to_owned(), &|file| {
        let xml = junit(reports).map_err(io::Error::other)?;
        file.write_all(xml.as_bytes())
    })?;
    for (index, report) in reports.iter().enumerate() {
        write(trace_name(index), &|file| write_trace(file, report))?;
    }
    Ok(written)
}

/// The file of the recording of the run at an index.
fn trace_name(index: usize) -> String {
    if index == 0 { "trace.jsonl".to_owned() } else { format!("trace-{}.jsonl", index + 1) }
}

fn write_trace(file: &mut impl Write, report: &RunReport) -> io::Result<()> {
    let header = TraceHeader {
        trace_version: TRACE_VERSION,
        ackscope_version: env!("CARGO_PKG_VERSION"),
        scenario: &report.scenario,
        backend: report.backend.as_str(),
        events: report.events.len(),
    };
    serde_json::to_writer(&mut *file, &header)?;
    writeln!(file)?;
    for event in &report.events {
        serde_json::to_writer(&mut *file, &**event)?;
        writeln!(file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ackscope_protocol::trace::TraceEvent;

    use super::*;
    use crate::report::fixtures::{failed_report, passed_report};

    #[test]
    fn a_folder_holds_reports_junit_and_recordings_that_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("made/for/this");
        let reports = [passed_report(), failed_report()];
        let written = write_report(&inner, &reports).unwrap();
        let names: Vec<_> =
            written.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
        assert_eq!(names, ["report.html", "report.json", "junit.xml", "trace.jsonl", "trace-2.jsonl"]);

        let page = fs::read_to_string(&written[0]).unwrap();
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
        assert!(page.contains("trace.jsonl, ") && page.contains("trace-2.jsonl, "), "the recordings are named");

        let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&written[1]).unwrap()).unwrap();
        assert_eq!(json["verdict"], "fail");
        assert_eq!(json["runs"][0]["verdict"], "pass");
        assert_eq!(json["runs"][1]["verdict"], "fail");

        let trace = fs::read_to_string(&written[3]).unwrap();
        let mut lines = trace.lines();
        let header: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!(header["trace_version"], 1);
        let events: Vec<TraceEvent> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        let original: Vec<_> = reports[0].events.iter().map(|event| (**event).clone()).collect();
        assert_eq!(events, original);
        assert_eq!(header["events"], events.len());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = write_report(&file.path().join("x"), &[]).unwrap_err();
        assert!(error.to_string().starts_with("cannot write "), "{error}");
    }
}
