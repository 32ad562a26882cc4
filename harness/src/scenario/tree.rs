//! A YAML document as a tree whose every part knows its place.
//!
//! Reading goes through this tree and not straight into the types, because the types would stop at the first
//! thing that is wrong and a person wants to hear of all of them at once.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};

use super::problem::Problem;

/// A place in a file: line and column from 1, in characters, and how many characters it is wide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// Characters to underline; at least 1.
    pub width: u32,
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Self {
            line: number(location.line()).max(1),
            column: number(location.column()).max(1),
            width: number(location.span().len()).max(1),
        }
    }
}

/// Most levels of lists and blocks within each other: enough for the deepest scenario, and for any thread's stack.
const DEPTH_MAX: usize = 40;

/// A part of the document.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub place: Place,
    pub value: NodeValue,
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
}

impl Node {
    /// Reads a document. A text that is no YAML is one problem, because nothing after it can be trusted.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let options = serde_saphyr::options! {
            // Every pair is handed on, so that a duplicate is reported with the rest.
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            leading_zero_numbers_as_strings: true,
            underscored_numbers_as_strings: true,
            budget: serde_saphyr::budget! { max_depth: DEPTH_MAX },
        };
        serde_saphyr::from_str_with_options::<Self>(text, options).map_err(|error| syntax_problem(&error))
    }

    /// What it is, for a sentence such as "expected a list, found …".
    pub(super) fn found(&self) -> String {
        match &self.value {
            NodeValue::Nothing => "empty".to_owned(),
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
        match &self.value {
            NodeValue::Bool(value) => Some(value.to_string()),
            NodeValue::Integer(value) => Some(value.to_string()),
            NodeValue::Float(value) => Some(value.to_string()),
            NodeValue::Text(text) => Some(text.clone()),
            NodeValue::Nothing | NodeValue::List(_) | NodeValue::Map(_) => None,
        }
    }
}

/// What the parser says of a text that is not YAML.
fn syntax_problem(error: &serde_saphyr::Error) -> Problem {
    let (place, said) = said(error);
    Problem::new(Place { width: 1, ..place }, format!("this is not valid YAML: {said}"))
}

/// What the types say of a value that the structural check let through.
pub(super) fn type_problem(error: &serde_saphyr::Error) -> Problem {
    let (place, said) = said(error);
    Problem::new(place, said)
}

/// Place and sentence of an error; the place it appends is cut, because it is printed in front.
fn said(error: &serde_saphyr::Error) -> (Place, String) {
    let place = error.location().map_or(Place { line: 1, column: 1, width: 1 }, Place::from);
    let said = error.render_with_options(serde_saphyr::render_options! { snippets: serde_saphyr::SnippetMode::Off });
    let said = said.lines().next().unwrap_or_default();
    let said = said.find(" at line ").map_or(said, |end| &said[..end]);
    let said = said.strip_prefix("error: ").unwrap_or(said).trim_end_matches(['.', ':', ' ']);
    (place, said.to_owned())
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<NodeValue>::deserialize(deserializer)?;
        Ok(Self { place: spanned.referenced.into(), value: spanned.value })
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
        let node = Node::parse("a: 1\nbä:\n  - x\n  - {c: yes it is, c: 2}\n").unwrap();
        let NodeValue::Map(pairs) = &node.value else { panic!("a map") };
        assert_eq!(pairs[0].0.place, Place { line: 1, column: 1, width: 1 });
        assert_eq!(pairs[0].1.place, Place { line: 1, column: 4, width: 1 });
        assert_eq!(pairs[1].0.place, Place { line: 2, column: 1, width: 2 });
        let NodeValue::List(items) = &pairs[1].1.value else { panic!("a list") };
        assert_eq!(items[0].place, Place { line: 3, column: 5, width: 1 });
        let NodeValue::Map(inner) = &items[1].value else { panic!("a map") };
        assert_eq!(inner[0].1.place, Place { line: 4, column: 9, width: 9 });
        assert_eq!(inner.len(), 2, "a duplicate is kept");
        assert_eq!(inner[1].0.place, Place { line: 4, column: 20, width: 1 });
    }

    #[test]
    fn what_is_no_yaml_is_one_problem_with_a_place() {
        let problem = Node::parse("users: [ana, ben\nsteps:\n  - x\n").unwrap_err();
        assert!(problem.what.starts_with("this is not valid YAML: "), "{}", problem.what);
        assert!(problem.place.line >= 2, "{problem:?}");
    }
}
