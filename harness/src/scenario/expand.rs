//! Writes variables, loops and included files out, in the tree and before any type is read.
//!
//! So every field can use a variable, a loop's body is checked as what it becomes, and each part still knows the
//! place it was written at, in whichever file. What is wrong here becomes a hole in the tree, of which nothing
//! more is said. How much can be written out is bounded, in steps and in memory.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use super::file::words::{Format, Formatted as _, Times, Variable};
use super::problem::{Problem, Source, nearest};
use super::tree::{Node, NodeValue, Place};
use super::{read_text, shape};

/// Most steps of a scenario, with loops and included files written out.
const STEPS_MAX: usize = 20_000;
/// Most memory that what is written out may take, in bytes, roughly.
const WEIGHT_MAX: usize = 64 * 1024 * 1024;
/// What a part weighs besides its text.
const PART_WEIGHT: usize = 96;
/// What a round of a loop and an included file weigh besides their steps: also those without any take time.
const ROUND_WEIGHT: usize = 1_024;
/// Most problems that are looked for: a loop can say the same very often.
const PROBLEMS_MAX: usize = 1_000;
/// Most `for` and `include` within each other.
const NESTING_MAX: usize = 8;
/// What an id that the run gives is written with: `$(message:NAME)`.
pub(super) const KINDS: [&str; 3] = ["conversation", "message", "media"];

/// A document that was written out.
pub(super) struct Expanded {
    pub document: Node,
    /// For each step the line of the document it comes from: of a loop, of an `include`, or its own.
    pub lines: Vec<u32>,
    pub problems: Vec<Problem>,
}

/// Writes a document out. Files it includes are added to `sources`, whose first one is the document's own; they
/// are looked for in the folder of `file`, which holds the document.
pub(super) fn expand(document: Node, sources: &mut Vec<Source>, file: Option<&Path>) -> Expanded {
    let file = file.and_then(|file| file.canonicalize().ok());
    let folder = file.as_deref().and_then(Path::parent).map(Path::to_owned);
    let mut expander = Expander {
        sources,
        root: folder.clone(),
        folder,
        parsed: HashMap::new(),
        open: file.into_iter().collect(),
        variables: Vec::new(),
        nesting: 0,
        steps: 0,
        weight: 0,
        is_full: false,
        lines: Vec::new(),
        problems: Vec::new(),
    };
    let document = expander.document(document);
    Expanded { document, lines: expander.lines, problems: expander.problems }
}

struct Expander<'s> {
    sources: &'s mut Vec<Source>,
    /// The folder of the file that is being written out.
    folder: Option<PathBuf>,
    /// The scenario's own folder, which nothing may be outside of.
    root: Option<PathBuf>,
    /// Files that were read, so that a loop reads none twice.
    parsed: HashMap<PathBuf, Rc<Node>>,
    /// The files that are being written out, one within the other.
    open: Vec<PathBuf>,
    /// Variables that are known here, with what they stand for; a hole for one whose value is wrong.
    variables: Vec<(String, Node)>,
    nesting: usize,
    steps: usize,
    weight: usize,
    /// Nothing more is written out.
    is_full: bool,
    /// Where in the document itself each of its steps comes from.
    lines: Vec<u32>,
    problems: Vec<Problem>,
}

impl Expander<'_> {
    fn document(&mut self, document: Node) -> Node {
        let NodeValue::Map(pairs) = document.value else { return document };
        let (constants, others): (Vec<_>, Vec<_>) =
            pairs.into_iter().partition(|(key, _)| matches!(&key.value, NodeValue::Text(key) if key == "let"));
        let constants: Vec<_> = constants.into_iter().map(|(key, value)| (key, self.constants(value))).collect();
        let others: Vec<_> = others
            .into_iter()
            .map(|(key, value)| {
                let is_steps = matches!(&key.value, NodeValue::Text(key) if key == "steps");
                let value = if is_steps { self.own_list(&value) } else { self.part(&value, false) };
                (key, value)
            })
            .collect();
        Node::new(document.place, NodeValue::Map(constants.into_iter().chain(others).collect()))
    }

    /// Takes the variables of a `let` in. Each may use those before it.
    fn constants(&mut self, node: Node) -> Node {
        let NodeValue::Map(pairs) = node.value else { return node };
        let mut written = Vec::new();
        for (key, value) in pairs {
            let value = self.part(&value, false);
            if let Some(name) = key.scalar() {
                let is_constant = match &value.value {
                    NodeValue::List(items) => items.iter().all(|item| item.scalar().is_some()),
                    _ => value.scalar().is_some(),
                };
                let held = if is_constant { value.clone() } else { Node::new(value.place, NodeValue::Hole) };
                // What is given twice is a problem of the structure.
                if !self.variables.iter().any(|(known, _)| *known == name) {
                    self.variables.push((name, held));
                } else if self.nesting > 0 {
                    self.taken(&key, &name);
                }
            }
            written.push((key, value));
        }
        Node::new(node.place, NodeValue::Map(written))
    }

    fn taken(&mut self, at: &Node, name: &str) {
        self.problems.push(
            Problem::new(at.place, format!("there is a variable `{name}` here already")).expected("another name"),
        );
    }

    // ---- steps ------------------------------------------------------------------------------------------

    /// The document's own list of steps, written out.
    fn own_list(&mut self, node: &Node) -> Node {
        let NodeValue::List(steps) = &node.value else { return self.part(node, false) };
        let mut written = Vec::new();
        for step in steps {
            self.steps(std::slice::from_ref(step), &mut written);
            self.lines.resize(written.len(), step.place.line);
        }
        Node::new(node.place, NodeValue::List(written))
    }

    /// A list of steps, written out.
    fn list(&mut self, node: &Node) -> Node {
        let NodeValue::List(steps) = &node.value else { return self.part(node, false) };
        let mut written = Vec::new();
        self.steps(steps, &mut written);
        Node::new(node.place, NodeValue::List(written))
    }

    fn steps(&mut self, steps: &[Node], written: &mut Vec<Node>) {
        for step in steps {
            if self.is_over() {
                return;
            }
            let NodeValue::Map(pairs) = &step.value else {
                written.push(self.part(step, false));
                continue;
            };
            let [(key, value)] = pairs.as_slice() else {
                written.push(self.part(step, false));
                continue;
            };
            let made = match &key.value {
                NodeValue::Text(word) if word == "for" => {
                    self.each(step, value, written);
                    continue;
                }
                NodeValue::Text(word) if word == "include" => {
                    self.include(step, value, written);
                    continue;
                }
                NodeValue::Text(word) if word == "repeat" => self.repeat(step, value),
                NodeValue::Text(word) if word == "parallel" => match &value.value {
                    NodeValue::List(lists) => {
                        let lists = lists.iter().map(|list| self.list(list)).collect();
                        Node::new(value.place, NodeValue::List(lists))
                    }
                    _ => self.part(value, false),
                },
                NodeValue::Text(word) if word == "request" => self.part(value, true),
                _ => self.part(value, false),
            };
            let key = self.part(key, false);
            self.steps += 1;
            if self.steps > STEPS_MAX {
                self.full(step.place, &format!("{STEPS_MAX} steps"));
            }
            written.push(Node::new(step.place, NodeValue::Map(vec![(key, made)])));
        }
    }

    /// Whether nothing more is written out.
    fn is_over(&self) -> bool {
        self.is_full || self.problems.len() >= PROBLEMS_MAX
    }

    /// Takes one more round of a loop, or one more file, if there is room.
    fn begins_round(&mut self, place: Place) -> bool {
        self.heavier(place, ROUND_WEIGHT);
        !self.is_over()
    }

    fn heavier(&mut self, place: Place, by: usize) {
        self.weight += by;
        if self.weight > WEIGHT_MAX {
            self.full(place, &format!("{} MiB", WEIGHT_MAX / (1024 * 1024)));
        }
    }

    fn full(&mut self, place: Place, most: &str) {
        if !std::mem::replace(&mut self.is_full, true) {
            let what = format!("with its loops and included files written out the scenario has more than {most}");
            self.problems.push(Problem::new(place, what).expected("fewer rounds or shorter lists"));
        }
    }

    /// One level further in.
    fn within(&mut self, place: Place, play: impl FnOnce(&mut Self)) {
        if self.nesting >= NESTING_MAX {
            let problem = Problem::new(place, "this stands too deep within others");
            self.problems
                .push(problem.expected(format!("at most {NESTING_MAX} `for` and `include` within each other")));
            return;
        }
        self.nesting += 1;
        play(self);
        self.nesting -= 1;
    }

    /// What is wrong with a block apart from the steps in it; whether it is nothing.
    fn is_right(&mut self, value: &Node, type_name: &str, of: &str) -> bool {
        let problems = shape::check_part(&without_steps(value), type_name, of);
        let is_right = problems.is_empty();
        self.problems.extend(problems);
        is_right
    }

    /// A variable that a block makes, if its name is free.
    fn new_variable(&mut self, node: Option<&Node>) -> Option<String> {
        let node = node?;
        let name = node.scalar()?;
        if self.variables.iter().any(|(known, _)| *known == name) {
            self.taken(node, &name);
            return None;
        }
        Some(name)
    }

    fn each(&mut self, step: &Node, value: &Node, written: &mut Vec<Node>) {
        let hole = || Node::new(step.place, NodeValue::Hole);
        if !self.is_right(value, "For", "`for`") {
            written.push(hole());
            return;
        }
        let (Some(name), Some(values), Some(Node { value: NodeValue::List(steps), .. })) =
            (self.new_variable(value.get("each")), value.get("in"), value.get("steps"))
        else {
            written.push(hole());
            return;
        };
        let values = self.part(values, false);
        let NodeValue::List(items) = &values.value else {
            if !matches!(values.value, NodeValue::Hole) {
                let problem = Problem::new(values.place, format!("`in` is {}", values.found()));
                self.problems.push(problem.expected("a list such as [a, b], or a variable that is one"));
            }
            written.push(hole());
            return;
        };
        let empty = if items.is_empty() { Some(values.place) } else { steps.is_empty().then_some(step.place) };
        if let Some(place) = empty {
            let problem = Problem::new(place, "the loop does nothing");
            self.problems.push(problem.expected("at least one value in `in`, and at least one step"));
        }
        self.within(step.place, |this| {
            for item in items {
                if !this.begins_round(step.place) {
                    break;
                }
                this.variables.push((name.clone(), item.clone()));
                this.steps(steps, written);
                this.variables.pop();
            }
        });
    }

    /// The rounds of a `repeat` are written out when they have a number.
    fn repeat(&mut self, step: &Node, value: &Node) -> Node {
        if value.get("as").is_none() {
            return self.block(value, Expander::list);
        }
        if !self.is_right(value, "Repeat", "`repeat`") {
            return Node::new(step.place, NodeValue::Hole);
        }
        let Some(name) = self.new_variable(value.get("as")) else {
            return Node::new(step.place, NodeValue::Hole);
        };
        let times = value.get("times").map(|times| self.part(times, false)).and_then(|times| times.scalar());
        let Some(Times(times)) = times.and_then(|times| times.parse().ok()) else {
            return Node::new(step.place, NodeValue::Hole);
        };
        self.block(value, |this, steps| {
            let NodeValue::List(list) = &steps.value else { return this.part(steps, false) };
            let mut written = Vec::new();
            for round in 1..=times {
                if !this.begins_round(step.place) {
                    break;
                }
                let round = Node::new(steps.place, NodeValue::Integer(round.into()));
                this.variables.push((name.clone(), round));
                this.steps(list, &mut written);
                this.variables.pop();
            }
            Node::new(steps.place, NodeValue::List(written))
        })
    }

    /// A block whose `steps` are written out in a way of their own.
    fn block(&mut self, value: &Node, write: impl FnOnce(&mut Self, &Node) -> Node) -> Node {
        let NodeValue::Map(pairs) = &value.value else { return self.part(value, false) };
        let mut write = Some(write);
        let pairs = pairs
            .iter()
            .map(|(key, value)| {
                let is_steps = matches!(&key.value, NodeValue::Text(key) if key == "steps");
                let value = match write.take_if(|_| is_steps) {
                    Some(write) => write(self, value),
                    None => self.part(value, false),
                };
                (key.clone(), value)
            })
            .collect();
        Node::new(value.place, NodeValue::Map(pairs))
    }

    // ---- files ------------------------------------------------------------------------------------------

    fn include(&mut self, step: &Node, value: &Node, written: &mut Vec<Node>) {
        let value = self.part(value, false);
        let Some(name) = value.scalar() else {
            if !matches!(value.value, NodeValue::Hole) {
                let problem = Problem::new(value.place, format!("`include` is {}", value.found()));
                self.problems.push(problem.expected("the path of a file, such as `include: parts/setup.yaml`"));
            }
            return;
        };
        let found = match self.find(&name) {
            Ok(found) => found,
            Err(problem) => {
                self.problems.push(Problem { place: value.place, ..problem });
                return;
            }
        };
        if self.open.contains(&found) {
            let problem = Problem::new(value.place, format!("`{name}` includes itself"));
            self.problems.push(problem.expected("files that include each other in one direction"));
            return;
        }
        if !self.begins_round(step.place) {
            return;
        }
        let Some(document) = self.parse(&found, &name, value.place) else { return };
        let folder = found.parent().map(Path::to_owned);
        self.within(step.place, |this| {
            let before = std::mem::replace(&mut this.folder, folder);
            let known = this.variables.len();
            this.open.push(found);
            this.part_file(&document, written);
            this.open.pop();
            this.variables.truncate(known);
            this.folder = before;
        });
    }

    fn part_file(&mut self, document: &Node, written: &mut Vec<Node>) {
        if let NodeValue::List(steps) = &document.value {
            return self.steps(steps, written);
        }
        let problems = if let NodeValue::Map(_) = &document.value {
            shape::check_part_file(&without_steps(document))
        } else {
            let problem = Problem::new(document.place, format!("an included file is {}", document.found()));
            vec![problem.expected("a list of steps, or a block with `steps`")]
        };
        if !problems.is_empty() {
            self.problems.extend(problems);
            return;
        }
        if let Some(constants) = document.get("let") {
            self.constants(constants.clone());
        }
        if let Some(Node { value: NodeValue::List(steps), .. }) = document.get("steps") {
            self.steps(steps, written);
        }
    }

    /// The file a path speaks of; else what is wrong, at no place yet.
    fn find(&self, name: &str) -> Result<PathBuf, Problem> {
        let problem = |what: String| Problem::new(Place::START, what);
        let (Some(folder), Some(root)) = (&self.folder, &self.root) else {
            return Err(problem("nothing can be included here".to_owned())
                .expected("a scenario in a file of its own; this text is in no folder"));
        };
        let path = Path::new(name);
        let outside = || {
            problem(format!("`{name}` is not in the scenario's folder"))
                .expected("a path such as `parts/setup.yaml`, in the folder of the file that includes it or below")
        };
        if path.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(outside());
        }
        let found = folder.join(path).canonicalize().map_err(|reason| {
            let mut missing = problem(format!("`{name}` cannot be read: {reason}"));
            missing.nearest = near_file(folder, path);
            missing.expected("a file in the folder of the file that includes it, or below")
        })?;
        // A link may lead anywhere.
        if !found.starts_with(root) {
            return Err(outside());
        }
        if !found.is_file() {
            return Err(problem(format!("`{name}` is not a file")).expected("a file with steps"));
        }
        Ok(found)
    }

    fn parse(&mut self, found: &Path, name: &str, place: Place) -> Option<Rc<Node>> {
        if let Some(document) = self.parsed.get(found) {
            return Some(Rc::clone(document));
        }
        let file = u32::try_from(self.sources.len()).unwrap_or(u32::MAX);
        let shown = self.root.as_deref().and_then(|root| found.strip_prefix(root).ok()).unwrap_or(Path::new(name));
        let shown = Path::new(&self.sources[0].name).with_file_name("").join(shown).display().to_string();
        let document = match read_text(found) {
            Ok(Ok(text)) => {
                let document = Node::parse(file, &text);
                self.sources.push(Source { name: shown, text });
                document
            }
            Ok(Err(super::NoText { problem, read })) => {
                self.sources.push(Source { name: shown, text: read });
                Err(Problem { place: Place { file, ..problem.place }, ..*problem })
            }
            Err(reason) => Err(Problem::new(place, format!("`{name}` cannot be read: {reason}"))),
        };
        match document {
            Ok(document) => {
                let document = Rc::new(document);
                self.parsed.insert(found.to_owned(), Rc::clone(&document));
                Some(document)
            }
            Err(problem) => {
                self.problems.push(problem);
                // Known to be wrong, so that a loop says it once.
                let hole = Node::new(Place { file, ..Place::START }, NodeValue::List(Vec::new()));
                self.parsed.insert(found.to_owned(), Rc::new(hole));
                None
            }
        }
    }

    // ---- variables --------------------------------------------------------------------------------------

    /// A part with its variables replaced. In a `payload` ids that the run gives may be spoken of.
    fn part(&mut self, node: &Node, has_ids: bool) -> Node {
        if self.is_over() {
            return Node::new(node.place, NodeValue::Hole);
        }
        self.weigh(node);
        let value = match &node.value {
            NodeValue::Text(text) if text.contains("$(") => return self.text(node, text, has_ids),
            NodeValue::List(items) => NodeValue::List(items.iter().map(|item| self.part(item, has_ids)).collect()),
            NodeValue::Map(pairs) => NodeValue::Map(
                pairs.iter().map(|(key, value)| (self.part(key, false), self.part(value, has_ids))).collect(),
            ),
            _ => return node.clone(),
        };
        Node::new(node.place, value)
    }

    fn weigh(&mut self, node: &Node) {
        let text = if let NodeValue::Text(text) = &node.value { text.len() } else { 0 };
        self.heavier(node.place, PART_WEIGHT + text);
    }

    fn text(&mut self, node: &Node, text: &str, has_ids: bool) -> Node {
        // A text that is one variable and nothing else becomes its value, whatever kind that is.
        if let Some(name) = text.strip_prefix("$(").and_then(|rest| rest.strip_suffix(')'))
            && let Some((_, value)) = self.variables.iter().find(|(known, _)| known == name)
        {
            let value = value.moved(node.place);
            self.weigh(&value);
            if let NodeValue::List(items) = &value.value {
                for item in items {
                    self.weigh(item);
                }
            }
            return value;
        }
        let mut written = String::new();
        let mut rest = text;
        let mut is_whole = true;
        while let Some(at) = rest.find("$(") {
            if rest[..at].ends_with('$') {
                written.push_str(&rest[..at]);
                written.push('(');
                rest = &rest[at + 2..];
                continue;
            }
            written.push_str(&rest[..at]);
            if let Some((value, end)) = self.replaced(node, &rest[at..], has_ids) {
                written.push_str(&value);
                rest = &rest[at + end..];
            } else {
                is_whole = false;
                rest = &rest[at + 2..];
            }
        }
        written.push_str(rest);
        let value = Node::new(node.place, if is_whole { NodeValue::Text(written) } else { NodeValue::Hole });
        self.weigh(&value);
        value
    }

    /// What stands for the variable a text begins with, and where it ends; nothing when that is wrong.
    fn replaced(&mut self, node: &Node, text: &str, has_ids: bool) -> Option<(String, usize)> {
        let Some(end) = text.find(')').map(|end| end + 1) else {
            let problem =
                Problem::new(self.place_of(node, text.lines().next().unwrap_or(text)), "`$(` has no `)` after it");
            self.problems.push(problem.expected("`$(name)`, or `$$(` for the two characters themselves"));
            return None;
        };
        let (whole, name) = (&text[..end], &text[2..end - 1]);
        if let Some((kind, of)) = name.split_once(':') {
            if !KINDS.contains(&kind) {
                let problem = Problem::new(self.place_of(node, whole), format!("no `{kind}` has an id"));
                self.problems.push(problem.nearest(kind, KINDS).expected(kinds_expected()));
                return None;
            }
            if !has_ids {
                let what = format!("`{whole}` stands for an id, which only a `payload` holds");
                let problem = Problem::new(self.place_of(node, whole), what);
                self.problems.push(problem.expected(format!("the name itself: `{of}`")));
                return None;
            }
            return Some((whole.to_owned(), end));
        }
        let known = self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let Some(value) = known else {
            let Format { expected, refuse, .. } = Variable::FORMAT;
            let place = self.place_of(node, whole);
            let problem = if let Some(why) = refuse(name) {
                Problem::new(place, why).expected(expected)
            } else {
                let mut names: Vec<_> = self.variables.iter().map(|(name, _)| format!("`{name}`")).collect();
                names.sort_unstable();
                let names = if names.is_empty() { "there is none here".to_owned() } else { names.join(", ") };
                Problem::new(place, format!("there is no variable `{name}`"))
                    .nearest(name, self.variables.iter().map(|(name, _)| name.as_str()))
                    .expected(format!("a variable of `let`, `for` or `repeat`: {names}; or `$$(` for `$(` itself"))
            };
            self.problems.push(problem);
            return None;
        };
        match (value.scalar(), &value.value) {
            (Some(text), _) => Some((text, end)),
            (None, NodeValue::Hole) => None,
            (None, _) => {
                let what = format!("`{name}` is a list and stands for no part of a text");
                let problem = Problem::new(self.place_of(node, whole), what);
                self.problems.push(problem.expected("a list alone where a list can be, or a `for` over it"));
                None
            }
        }
    }

    /// Where something stands in a text as it is written; the text itself when it is not found there.
    fn place_of(&self, node: &Node, wanted: &str) -> Place {
        let Some(source) = self.sources.get(node.place.file as usize) else { return node.place };
        let first = (node.place.line as usize).saturating_sub(1);
        for (index, line) in source.text.lines().enumerate().skip(first) {
            let skip = if index == first { (node.place.column as usize).saturating_sub(1) } else { 0 };
            let from = line.char_indices().nth(skip).map_or(line.len(), |(at, _)| at);
            if let Some(at) = line[from..].find(wanted) {
                let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
                let column = line[..from + at].chars().count() + 1;
                let (line, column, width) = (number(index + 1), number(column), number(wanted.chars().count()));
                return Place { file: node.place.file, line, column, width };
            }
        }
        node.place
    }
}

pub(super) fn kinds_expected() -> &'static str {
    "`$(conversation:NAME)`, `$(message:NAME)` or `$(media:NAME)`"
}

/// A block with an empty list for its steps, to be checked apart from them.
fn without_steps(block: &Node) -> Node {
    let NodeValue::Map(pairs) = &block.value else { return block.clone() };
    let pairs = pairs.iter().map(|(key, value)| match (&key.value, &value.value) {
        (NodeValue::Text(word), NodeValue::List(_)) if word == "steps" => {
            (key.clone(), Node::new(value.place, NodeValue::List(Vec::new())))
        }
        _ => (key.clone(), value.clone()),
    });
    Node::new(block.place, NodeValue::Map(pairs.collect()))
}

/// Most files of a folder that are looked at for one with a similar name.
const NEAR_FILES_MAX: usize = 1_000;

/// The path of a file beside the one that is missing, when its name is near.
fn near_file(folder: &Path, missing: &Path) -> Option<String> {
    let within = missing.parent()?;
    let names: Vec<String> = std::fs::read_dir(folder.join(within))
        .ok()?
        .take(NEAR_FILES_MAX)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let near = nearest(missing.file_name()?.to_str()?, names.iter().map(String::as_str))?;
    Some(within.join(near).display().to_string())
}

#[cfg(test)]
mod tests {
    use crate::scenario::Scenario;

    fn titles(text: &str) -> Vec<String> {
        let scenario = Scenario::read("try.yaml", text).unwrap_or_else(|refusal| panic!("{refusal}"));
        scenario.file.steps.iter().map(|step| crate::scenario::title::title(&step.value)).collect()
    }

    fn refused(text: &str) -> Vec<(u32, u32, String)> {
        let refusal = Scenario::read("try.yaml", text).expect_err("it is wrong");
        let problems = refusal.problems().iter();
        problems.map(|problem| (problem.place.line, problem.place.column, problem.what.clone())).collect()
    }

    #[test]
    fn a_variable_stands_for_its_value_in_every_field() {
        let text = "scenario: A $(what)\nlet: {what: try, crew: [ana, ben], n: 2, half: \"$(what) and\"}\n\
                    users: $(crew)\nsteps:\n  \
                    - create: {as: ana, id: talk-$(n), kind: direct, with: [ben]}\n  \
                    - repeat: {times: \"$(n)\", steps: [{send: {as: ana, to: talk-2, text: \"$(half) $$(n) $(n)\"}}]}\n";
        let scenario = Scenario::read("try.yaml", text).unwrap_or_else(|refusal| panic!("{refusal}"));
        assert_eq!(scenario.name(), "A try");
        assert_eq!(scenario.file.users.len(), 2);
        let told = format!("{:?}", scenario.file.steps);
        assert!(told.contains("try and $(n) 2") && told.contains("talk-2"), "{told}");
    }

    #[test]
    fn a_loop_is_written_out_and_a_round_has_a_number() {
        let text = "scenario: Loops\nusers: [ana, ben, cleo]\nsteps:\n  \
                    - create: {as: ana, id: talk, kind: group, with: [ben, cleo]}\n  \
                    - for: {each: who, in: [ben, cleo], steps: [{send: {as: \"$(who)\", to: talk, text: \"I am $(who)\"}}]}\n  \
                    - repeat: {times: 3, as: round, steps: [{mark: \"Round $(round)\"}]}\n";
        let titles = titles(text);
        assert_eq!(titles[1..3], ["ben sends \"I am ben\" to talk", "cleo sends \"I am cleo\" to talk"]);
        let scenario = Scenario::read("try.yaml", text).unwrap();
        let crate::scenario::file::Step::Repeat(repeat) = &scenario.file.steps[3].value else { panic!("{titles:?}") };
        let rounds: Vec<_> = repeat.rounds().map(|steps| crate::scenario::title::title(&steps[0].value)).collect();
        assert_eq!(rounds, ["Round 1", "Round 2", "Round 3"]);
    }

    #[test]
    fn an_unknown_variable_is_told_where_it_stands() {
        let text = "scenario: Wrong\nlet: {name: ana}\nusers: [ana, ben]\nsteps:\n  - mark: Hello $(nmae)\n  \
                    - mark: |\n      $(name), meet $()\n";
        let found = refused(text);
        assert_eq!(found[0], (5, 17, "there is no variable `nmae`".to_owned()));
        assert_eq!(found[1], (7, 21, "`` cannot be the name of a variable".to_owned()));
    }

    #[test]
    fn what_is_written_out_is_bounded() {
        let inner = "{repeat: {times: 10000, as: a, steps: [{mark: x}, {mark: y}, {mark: z}]}}";
        let steps = format!("scenario: Much\nusers: [ana]\nsteps: [{inner}]\n");
        let found = refused(&steps);
        assert!(found[0].2.contains("more than 20000 steps"), "{found:?}");
        let long = "x".repeat(100_000);
        let text = format!(
            "scenario: Much\nusers: [ana]\nlet: {{long: {long}}}\n\
             steps: [{{repeat: {{times: 10000, as: a, steps: [{{mark: \"$(long)\"}}]}}}}]\n"
        );
        let found = refused(&text);
        assert!(found.iter().any(|(_, _, what)| what.contains("more than 64 MiB")), "{found:?}");
    }

    #[test]
    fn loops_without_steps_are_bounded_too() {
        let list: Vec<_> = (0..200).map(|number| number.to_string()).collect();
        let list = list.join(", ");
        let before: Vec<_> = (0..7).map(|level| format!("{{for: {{each: v{level}, in: [{list}], steps: [")).collect();
        let (before, after) = (before.concat(), "]}}".repeat(7));
        for inner in ["", "{repeat: {times: 10000, as: round, steps: []}}", "{mark: $(unknown)}"] {
            let text = format!("scenario: Empty\nusers: [ana]\nsteps: [{before}{inner}{after}]\n");
            assert!(!refused(&text).is_empty());
        }
    }

    #[test]
    fn a_text_without_a_folder_includes_nothing() {
        let found = refused("scenario: Alone\nusers: [ana]\nsteps:\n  - include: other.yaml\n");
        assert_eq!(found[0], (4, 14, "nothing can be included here".to_owned()));
    }
}
