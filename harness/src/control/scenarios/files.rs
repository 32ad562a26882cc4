//! The scenario files an interface can list, read and write: those in one folder, and nothing outside of it.

use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::path::{Component, Path, PathBuf};

use ackscope_protocol::control::{ScenarioFile, ScenarioProblem, ScenarioStep};
use ackscope_protocol::error::{ErrorCode, WireError};
use futures_util::future::BoxFuture;

use crate::control::requests::{invalid, shown};
use crate::environment::state::state_folder;
use crate::scenario::problem::nearest;
use crate::scenario::{FILE_MAX_BYTES, Refusal, Scenario, Sketch};

/// What a scenario is called of which no file is known.
const UNNAMED: &str = "scenario.yaml";
/// Most files that are listed.
const FILES_MAX: usize = 1_000;
/// Most entries of folders that are looked at for them.
const ENTRIES_MAX: usize = 20_000;
/// Most folders within each other that are looked through.
const DEPTH_MAX: usize = 8;
/// How files of scenarios end.
const ENDINGS: [&str; 2] = ["yaml", "yml"];

/// Where an interface finds scenarios unless told otherwise: `scenarios` in the current folder if there is one, else in
/// the user's state folder.
pub fn scenarios_folder() -> PathBuf {
    let here = Path::new("scenarios");
    if here.is_dir() {
        // The current folder may be another one later.
        return std::path::absolute(here).unwrap_or_else(|_| here.to_owned());
    }
    state_folder(|name| std::env::var_os(name)).map_or_else(|| here.to_owned(), |state| state.join("scenarios"))
}

/// Does something with files where waiting for a disk holds nobody up.
pub(in crate::control) fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WireError> + Send + 'static,
) -> BoxFuture<'static, Result<T, WireError>> {
    Box::pin(async move {
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|error| Err(WireError::new(ErrorCode::Internal, error.to_string())))
    })
}

/// A text that was read and checked.
pub(super) struct Checked {
    pub(super) steps: Vec<ScenarioStep>,
    pub(super) problems: Vec<ScenarioProblem>,
    /// What can be played, when nothing is wrong.
    pub(super) scenario: Option<Scenario>,
}

/// Reads and checks a text. `path` is where it is from in the folder, if anywhere.
pub(super) fn check(folder: &Path, path: Option<&str>, text: &str) -> Result<Checked, WireError> {
    let place = path.map(|path| within(folder, path).map(|relative| folder.join(relative))).transpose()?;
    let step = |(line, title)| ScenarioStep { line, title };
    Ok(match Scenario::read_from(path.unwrap_or(UNNAMED), text.to_owned(), place.as_deref()) {
        Ok(scenario) => Checked {
            steps: scenario.outline().into_iter().map(step).collect(),
            problems: Vec::new(),
            scenario: Some(scenario),
        },
        Err(refusal) => Checked {
            steps: Sketch::of(text).steps.into_iter().map(step).collect(),
            problems: problems(&refusal),
            scenario: None,
        },
    })
}

fn problems(refusal: &Refusal) -> Vec<ScenarioProblem> {
    let told = |problem: &crate::scenario::problem::Problem| {
        let mut message = problem.what.clone();
        if let Some(word) = &problem.nearest {
            message = format!("{message}: did you mean `{word}`?");
        }
        if let Some(expected) = &problem.expected {
            message = format!("{message} (expected {expected})");
        }
        ScenarioProblem {
            file: (problem.place.file != 0).then(|| refusal.file_at(problem.place).to_owned()),
            line: problem.place.line,
            column: problem.place.column,
            message,
        }
    };
    refusal.problems().iter().map(told).collect()
}

/// A path of the interface as one within the folder: nothing of it leads elsewhere.
fn within(folder: &Path, path: &str) -> Result<PathBuf, WireError> {
    let given = Path::new(path);
    let mut relative = PathBuf::new();
    for part in given.components() {
        match part {
            Component::Normal(part) => relative.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(outside(folder, path)),
        }
    }
    if relative.as_os_str().is_empty() || path.ends_with('/') || path.chars().any(char::is_control) {
        return Err(invalid(format!("`{}` is not the path of a file; expected one such as `mine.yaml`", shown(path))));
    }
    Ok(relative)
}

fn outside(folder: &Path, path: &str) -> WireError {
    let folder = folder.display();
    invalid(format!(
        "`{}` is not in the folder of scenarios; expected a path within {folder}, without `..`",
        shown(path)
    ))
}

fn failed(what: &str, path: &str, error: &io::Error) -> WireError {
    WireError::new(ErrorCode::Internal, format!("`{}` could not be {what}: {error}", shown(path)))
}

/// The text of a file in the folder.
pub(super) fn open(folder: &Path, path: &str) -> Result<String, WireError> {
    let relative = within(folder, path)?;
    let missing = |error: &io::Error| {
        let names: Vec<String> = list(folder).into_iter().map(|file| file.path).collect();
        let meant = nearest(path, names.iter().map(String::as_str));
        let meant = meant.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
        WireError::new(ErrorCode::NotFound, format!("`{}` cannot be read: {error}{meant}", shown(path)))
    };
    let root = folder.canonicalize().map_err(|error| missing(&error))?;
    let file = root.join(&relative).canonicalize().map_err(|error| missing(&error))?;
    // A link may lead anywhere.
    if !file.starts_with(&root) {
        return Err(outside(folder, path));
    }
    if !file.is_file() {
        return Err(invalid(format!("`{}` is not a file", shown(path))));
    }
    let mut bytes = Vec::new();
    let read = std::fs::File::open(&file).and_then(|file| file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| failed("read", path, &error))?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(too_large(path));
    }
    String::from_utf8(bytes)
        .map_err(|_| invalid(format!("`{}` is not a text in UTF-8; save the file in that encoding", shown(path))))
}

fn too_large(path: &str) -> WireError {
    let most = FILE_MAX_BYTES / (1024 * 1024);
    invalid(format!("`{}` is too large for a scenario; expected at most {most} MiB", shown(path)))
}

/// Writes a file in the folder, whole or not at all; gives the path it has there.
pub(super) fn save(folder: &Path, path: &str, text: &str, replace: bool) -> Result<String, WireError> {
    let mut relative = within(folder, path)?;
    let is_ending = |ending: &OsStr| ENDINGS.iter().any(|known| ending == OsStr::new(known));
    if !relative.extension().is_some_and(is_ending) {
        relative.as_mut_os_string().push(".yaml");
    }
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(too_large(path));
    }
    let not_written = |error: &io::Error| failed("written", path, error);
    std::fs::create_dir_all(folder).map_err(|error| not_written(&error))?;
    let root = folder.canonicalize().map_err(|error| not_written(&error))?;
    let target = root.join(&relative);
    let parent = target.parent().unwrap_or(&root).to_owned();
    // Before anything is made: a folder that is a link may lead out.
    let deepest = parent.ancestors().find(|folder| folder.symlink_metadata().is_ok()).unwrap_or(&root);
    if !deepest.canonicalize().map_err(|error| not_written(&error))?.starts_with(&root) {
        return Err(outside(folder, path));
    }
    std::fs::create_dir_all(&parent).map_err(|error| not_written(&error))?;
    if let Ok(there) = target.symlink_metadata() {
        if !there.is_file() {
            return Err(invalid(format!(
                "`{}` is there and is not a file of its own; choose another name",
                shown(path)
            )));
        }
        if !replace {
            return Err(exists(path));
        }
    }
    let mut written = named(&parent).map_err(|error| not_written(&error))?;
    let whole = written.write_all(text.as_bytes()).and_then(|()| written.as_file().sync_all());
    whole.map_err(|error| not_written(&error))?;
    if replace {
        written.persist(&target).map_err(|error| not_written(&error.error))?;
    } else {
        written.persist_noclobber(&target).map_err(|error| match error.error.kind() {
            // Somebody else was faster.
            io::ErrorKind::AlreadyExists => exists(path),
            _ => not_written(&error.error),
        })?;
    }
    Ok(slashed(&relative))
}

/// A file beside those of the folder, which becomes one of them or goes.
fn named(parent: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".saving-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As any file somebody saves; what the user's mask takes away stays away.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(parent)
}

fn exists(path: &str) -> WireError {
    invalid(format!("`{}` is there already; save it as another name, or replace it", shown(path)))
}

fn slashed(path: &Path) -> String {
    let parts: Vec<_> = path.iter().map(OsStr::to_string_lossy).collect();
    parts.join("/")
}

/// The files of the folder and those within, by path. What others include is no scenario of its own.
pub(super) fn list(folder: &Path) -> Vec<ScenarioFile> {
    let mut files = Vec::new();
    let mut entries = 0;
    let mut folders = vec![(folder.to_owned(), PathBuf::new(), 0)];
    while let Some((at, relative, depth)) = folders.pop() {
        // A folder that cannot be read has nothing to list.
        let Ok(found) = std::fs::read_dir(&at) else { continue };
        for entry in found.flatten() {
            entries += 1;
            if entries > ENTRIES_MAX || files.len() >= FILES_MAX {
                break;
            }
            let (Ok(kind), name) = (entry.file_type(), entry.file_name()) else { continue };
            let relative = relative.join(&name);
            let is_hidden = name.as_encoded_bytes().starts_with(b".");
            let is_scenario = relative.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known));
            if is_hidden {
                continue;
            }
            if kind.is_dir() && depth < DEPTH_MAX {
                folders.push((entry.path(), relative, depth + 1));
            } else if kind.is_file() && is_scenario {
                files.extend(listed(folder, &relative));
            }
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

fn listed(folder: &Path, relative: &Path) -> Option<ScenarioFile> {
    let path = slashed(relative);
    let Ok(text) = open(folder, &path) else { return Some(ScenarioFile { path, name: None, about: None }) };
    let Sketch { reads, name, about, .. } = Sketch::of(&text);
    if reads && name.is_none() {
        return None;
    }
    let about = about.map(|about| about.lines().next().unwrap_or_default().to_owned());
    Some(ScenarioFile { path, name, about })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "scenario: Good\nabout: |\n  One line.\n  Another.\nusers: [ana]\nsteps:\n  - mark: Hello\n";

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let outer = folder();
        let inner = outer.path().join("scenarios");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(outer.path().join("secret.yaml"), GOOD).unwrap();
        std::os::unix::fs::symlink(outer.path(), inner.join("out")).unwrap();
        std::os::unix::fs::symlink(outer.path().join("secret.yaml"), inner.join("link.yaml")).unwrap();
        let absolute = outer.path().join("secret.yaml").display().to_string();
        for path in
            ["../secret.yaml", "a/../../secret.yaml", &absolute, "out/secret.yaml", "link.yaml", "", ".", "a/", "a\0b"]
        {
            let read = open(&inner, path).unwrap_err();
            assert!(matches!(read.code, ErrorCode::InvalidPayload), "{path}: {read:?}");
            for replace in [false, true] {
                let written = save(&inner, path, "scenario: Evil\n", replace).unwrap_err();
                assert!(matches!(written.code, ErrorCode::InvalidPayload), "{path}: {written:?}");
            }
            assert!(path.is_empty() || check(&inner, Some(path), GOOD).is_err() || !path.contains(".."), "{path}");
        }
        assert!(save(&inner, "out/deeper/new.yaml", GOOD, false).is_err());
        assert!(!outer.path().join("deeper").exists(), "no folder was made outside");
        assert_eq!(std::fs::read_to_string(outer.path().join("secret.yaml")).unwrap(), GOOD);
        assert_eq!(list(&inner), []);
    }

    #[test]
    fn a_file_is_written_whole_and_replaced_only_when_asked() {
        let outer = folder();
        let root = outer.path().join("not/there/yet");
        assert_eq!(save(&root, "mine", GOOD, false).unwrap(), "mine.yaml");
        assert_eq!(save(&root, "./deep/er/mine.yml", GOOD, false).unwrap(), "deep/er/mine.yml");
        assert_eq!(save(&root, "v1.2", GOOD, false).unwrap(), "v1.2.yaml");
        let again = save(&root, "mine.yaml", "other", false).unwrap_err();
        assert!(again.message.contains("there already"), "{again:?}");
        assert_eq!(open(&root, "mine.yaml").unwrap(), GOOD);
        save(&root, "mine.yaml", "other", true).unwrap();
        assert_eq!(open(&root, "mine.yaml").unwrap(), "other");
        let large = "x".repeat(FILE_MAX_BYTES as usize + 1);
        assert!(save(&root, "large", &large, false).unwrap_err().message.contains("too large"));
        assert!(save(&root, "deep", GOOD, true).is_ok(), "the folder `deep` is not `deep.yaml`");
        std::fs::create_dir(root.join("folder.yaml")).unwrap();
        assert!(save(&root, "folder.yaml", GOOD, true).unwrap_err().message.contains("not a file"));
        let left: Vec<_> = std::fs::read_dir(&root).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
    }

    #[test]
    fn scenarios_are_listed_with_what_they_say() {
        let folder = folder();
        save(folder.path(), "b/good", GOOD, false).unwrap();
        save(folder.path(), "a", "scenario: [", false).unwrap();
        save(folder.path(), "parts/setup", "- mark: A part\n", false).unwrap();
        std::fs::write(folder.path().join("notes.txt"), GOOD).unwrap();
        let files = list(folder.path());
        let told: Vec<_> =
            files.iter().map(|file| (file.path.as_str(), file.name.as_deref(), file.about.as_deref())).collect();
        assert_eq!(told, [("a.yaml", None, None), ("b/good.yaml", Some("Good"), Some("One line."))]);
        let missing = open(folder.path(), "b/god.yaml").unwrap_err();
        assert!(missing.code == ErrorCode::NotFound && missing.message.contains("`b/good.yaml`"), "{missing:?}");
    }

    #[test]
    fn what_is_wrong_has_a_place_and_what_reads_has_steps() {
        let folder = folder();
        save(folder.path(), "parts/more", "- mark: Of the part\n- mark: 7\n", false).unwrap();
        let text = "scenario: With a part\nusers: [ana]\nsteps:\n  - include: parts/more.yaml\n  \
                    - for: {each: n, in: [1, 2], steps: [\n      {mark: \"Round $(n)\"}]}\n";
        let checked = check(folder.path(), Some("whole.yaml"), text);
        // It is not saved yet, so nothing stands beside it.
        assert!(checked.unwrap().problems[0].message.contains("nothing can be included here"));
        save(folder.path(), "whole", text, false).unwrap();
        let checked = check(folder.path(), Some("whole.yaml"), text).unwrap();
        assert_eq!(checked.problems, []);
        let lines: Vec<_> = checked.steps.iter().map(|step| (step.line, step.title.as_str())).collect();
        assert_eq!(lines, [(4, "Of the part"), (4, "7"), (6, "Round 1"), (6, "Round 2")]);

        let wrong = check(folder.path(), None, "scenario: Wrong\nusers: [ana]\nsteps:\n  - marc: x\n  - drop: bob\n");
        let wrong = wrong.unwrap();
        assert!(wrong.scenario.is_none());
        assert_eq!(
            wrong.steps,
            [ScenarioStep { line: 4, title: "marc".into() }, ScenarioStep { line: 5, title: "drop".into() }]
        );
        let problem = &wrong.problems[0];
        assert_eq!((problem.file.as_deref(), problem.line, problem.column), (None, 4, 5));
        assert!(problem.message.contains("did you mean `mark`?"), "{problem:?}");
    }
}
