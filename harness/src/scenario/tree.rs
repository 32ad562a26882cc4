//! A YAML document as a tree whose every part knows its place.
//!
//! Reading goes through this tree and not straight into the types, because the types would stop at the first
//! thing that is wrong and a person wants to hear of all of them at once. Variables and included files are
//! written out in the tree (`expand`), so that every field can use them and still knows where it stands; then
//! `typed` reads the types from it.

mod typed;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};

use super::problem::Problem;
pub(super) use typed::AtVisitor;

/// A place in a file: line and column from 1, in characters, and how many characters it is wide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which file: 0 is the scenario itself, the others are the files it includes, in the order they were read.
    pub file: u32,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// Characters to underline; at least 1.
    pub width: u32,
}

impl Place {
    /// The beginning of the scenario itself.
    pub const START: Self = Self { file: 0, line: 1, column: 1, width: 1 };
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Self {
            file: 0,
            line: number(location.line()).max(1),
            column: number(location.column()).max(1),
            width: number(location.span().len()).max(1),
        }
    }
}

/// Most levels of lists and blocks within each other: enough for the deepest scenario, and for any thread's stack.
const DEPTH_MAX: usize = 40;

/// Most parts that aliases may repeat: some bytes of aliases of aliases stand for more than any memory holds.
const ALIASED_MAX: usize = 20_000;

/// A part of the document.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub place: Place,
    pub value: NodeValue,
    /// Where the value is written, which is elsewhere for an alias.
    written: Place,
    /// A number or a truth as it is written: in a text `1.50` is not `1.5`.
    raw: Option<Box<str>>,
}

/// What a part holds.
#[derive(Clone, Debug)]
pub(super) enum NodeValue {
    Nothing,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// Something that was found to be wrong already: whatever could be said of it would be noise.
    Hole,
}

impl Node {
    /// A part that was not read but made, at a place.
    pub(super) fn new(place: Place, value: NodeValue) -> Self {
        Self { place, value, written: place, raw: None }
    }

    /// Reads the document of a file. A text that is no YAML is one problem, because nothing after it can be trusted.
    pub(super) fn parse(file: u32, text: &str) -> Result<Self, Problem> {
        let options = serde_saphyr::options! {
            // Every pair is handed on, so that a duplicate is reported with the rest.
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            leading_zero_numbers_as_strings: true,
            underscored_numbers_as_strings: true,
            budget: serde_saphyr::budget! { max_depth: DEPTH_MAX, max_recorded_anchor_events: 5 * ALIASED_MAX },
            alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: ALIASED_MAX },
        };
        match serde_saphyr::from_str_with_options::<Self>(text, options) {
            Ok(mut node) => {
                let lines: Vec<&str> = text.lines().collect();
                node.settle(file, &lines);
                Ok(node)
            }
            Err(error) => {
                let mut problem = syntax_problem(&error);
                problem.place.file = file;
                Err(problem)
            }
        }
    }

    /// Notes which file it is of, and how numbers are written.
    fn settle(&mut self, file: u32, lines: &[&str]) {
        self.place.file = file;
        match &mut self.value {
            NodeValue::Bool(_) | NodeValue::Integer(_) | NodeValue::Float(_) => {
                let Place { line, column, width, .. } = self.written;
                let line = (line as usize).checked_sub(1).and_then(|index| lines.get(index));
                let written: Option<String> =
                    line.map(|line| line.chars().skip(column as usize - 1).take(width as usize).collect());
                // Written in another way, with a tag or over several lines, it is as it was read.
                let is_plain = |text: &str| !text.is_empty() && !text.contains(['"', '\'', '!', '&', '*', ' ']);
                self.raw = written.filter(|text| is_plain(text)).map(Into::into);
            }
            NodeValue::List(items) => items.iter_mut().for_each(|item| item.settle(file, lines)),
            NodeValue::Map(pairs) => {
                for (key, value) in pairs {
                    key.settle(file, lines);
                    value.settle(file, lines);
                }
            }
            NodeValue::Nothing | NodeValue::Text(_) | NodeValue::Hole => {}
        }
    }

    /// The value behind a key.
    pub(super) fn get(&self, wanted: &str) -> Option<&Self> {
        let NodeValue::Map(pairs) = &self.value else { return None };
        let is_it = |key: &Self| matches!(&key.value, NodeValue::Text(key) if key == wanted);
        pairs.iter().find(|(key, _)| is_it(key)).map(|(_, value)| value)
    }

    /// The same somewhere else, with everything in it.
    pub(super) fn moved(&self, place: Place) -> Self {
        let value = match &self.value {
            NodeValue::List(items) => NodeValue::List(items.iter().map(|item| item.moved(place)).collect()),
            NodeValue::Map(pairs) => {
                NodeValue::Map(pairs.iter().map(|(key, value)| (key.moved(place), value.moved(place))).collect())
            }
            other => other.clone(),
        };
        Self { place, value, written: self.written, raw: self.raw.clone() }
    }

    /// What it is, for a sentence such as "expected a list, found …".
    pub(super) fn found(&self) -> String {
        match &self.value {
            NodeValue::Nothing | NodeValue::Hole => "empty".to_owned(),
            NodeValue::Bool(value) => format!("`{value}`"),
            NodeValue::Integer(value) => format!("the number {value}"),
            NodeValue::Float(value) => format!("the number {value}"),
            NodeValue::Text(text) if text.chars().count() > 40 || text.contains('\n') => "a text".to_owned(),
            NodeValue::Text(text) => format!("the text `{text}`"),
            NodeValue::List(_) => "a list".to_owned(),
            NodeValue::Map(_) => "a block of `key: value`".to_owned(),
        }
    }

    /// A single value as text, as it would be read into a text field.
    pub(super) fn scalar(&self) -> Option<String> {
        if let Some(raw) = &self.raw {
            return Some(raw.to_string());
        }
        match &self.value {
            NodeValue::Bool(value) => Some(value.to_string()),
            NodeValue::Integer(value) => Some(value.to_string()),
            NodeValue::Float(value) => Some(value.to_string()),
            NodeValue::Text(text) => Some(text.clone()),
            NodeValue::Nothing | NodeValue::List(_) | NodeValue::Map(_) | NodeValue::Hole => None,
        }
    }
}

/// What the parser says of a text that is not YAML.
fn syntax_problem(error: &serde_saphyr::Error) -> Problem {
    let (place, said) = said(error);
    let place = Place { width: 1, ..place };
    // What the parser says in its own words, and what that means to somebody who writes a scenario.
    let known: [(&str, &str, &str); 6] = [
        ("multiple YAML documents", "a second document begins before here", "one scenario in one file, without `---`"),
        ("recursive references", "an alias stands within what it stands for", "an anchor that ends before its alias"),
        ("recursion limit", "this is nested too deep", "a scenario that a person can read"),
        ("limit exceeded", "anchors and aliases stand for too much here", "less of it, or a `for`"),
        ("budget", "this is more than a scenario can hold", "a scenario that a person can read"),
        ("non-finite float", "this number is too large", "a number of a size that people use"),
    ];
    match known.into_iter().find(|(words, ..)| said.contains(words)) {
        Some((_, what, expected)) => Problem::new(place, what).expected(expected),
        None => Problem::new(place, format!("this is not valid YAML: {said}")),
    }
}

/// Place and sentence of an error; the place it appends is cut, because it is printed in front.
fn said(error: &serde_saphyr::Error) -> (Place, String) {
    let place = error.location().map_or(Place::START, Place::from);
    let said = error.render_with_options(serde_saphyr::render_options! { snippets: serde_saphyr::SnippetMode::Off });
    let said = said.lines().next().unwrap_or_default();
    let said = said.find(" at line ").map_or(said, |end| &said[..end]);
    let said = said.strip_prefix("error: ").unwrap_or(said).trim_end_matches(['.', ':', ' ']);
    (place, said.to_owned())
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<NodeValue>::deserialize(deserializer)?;
        let (place, written) = (spanned.referenced.into(), spanned.defined.into());
        Ok(Self { place, value: spanned.value, written, raw: None })
    }
}

impl<'de> Deserialize<'de> for NodeValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = NodeValue;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<NodeValue, E> {
        Ok(NodeValue::Nothing)
    }

    fn visit_none<E>(self) -> Result<NodeValue, E> {
        Ok(NodeValue::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<NodeValue, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<NodeValue, E> {
        Ok(NodeValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<NodeValue, E> {
        Ok(NodeValue::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<NodeValue, E> {
        Ok(NodeValue::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<NodeValue, E> {
        Ok(NodeValue::Integer(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<NodeValue, E> {
        Ok(NodeValue::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<NodeValue, E> {
        Ok(NodeValue::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<NodeValue, E> {
        Ok(NodeValue::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<NodeValue, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(NodeValue::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NodeValue, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(NodeValue::Map(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_knows_its_place() {
        let node = Node::parse(0, "a: 1\nbä:\n  - x\n  - {c: yes it is, c: 2}\n").unwrap();
        let NodeValue::Map(pairs) = &node.value else { panic!("a map") };
        assert_eq!(pairs[0].0.place, Place { file: 0, line: 1, column: 1, width: 1 });
        assert_eq!(pairs[0].1.place, Place { file: 0, line: 1, column: 4, width: 1 });
        assert_eq!(pairs[1].0.place, Place { file: 0, line: 2, column: 1, width: 2 });
        let NodeValue::List(items) = &pairs[1].1.value else { panic!("a list") };
        assert_eq!(items[0].place, Place { file: 0, line: 3, column: 5, width: 1 });
        let NodeValue::Map(inner) = &items[1].value else { panic!("a map") };
        assert_eq!(inner[0].1.place, Place { file: 0, line: 4, column: 9, width: 9 });
        assert_eq!(inner.len(), 2, "a duplicate is kept");
        assert_eq!(inner[1].0.place, Place { file: 0, line: 4, column: 20, width: 1 });
    }

    #[test]
    fn a_number_in_a_text_stays_as_it_is_written() {
        let text = "[1.50, 1e3, 0x1F, TRUE, 7, &a 2.0, *a, '1.50', 007]";
        let NodeValue::List(items) = Node::parse(0, text).unwrap().value else { panic!("a list") };
        let scalars: Vec<_> = items.iter().filter_map(Node::scalar).collect();
        assert_eq!(scalars, ["1.50", "1e3", "0x1F", "TRUE", "7", "2.0", "2.0", "1.50", "007"]);
    }

    #[test]
    fn what_is_no_yaml_is_one_problem_with_a_place() {
        let problem = Node::parse(0, "users: [ana, ben\nsteps:\n  - x\n").unwrap_err();
        assert!(problem.what.starts_with("this is not valid YAML: "), "{}", problem.what);
        assert!(problem.place.line >= 2, "{problem:?}");
    }
}
