//! Checks a document's structure against the language's own schema and says everything that is wrong.
//!
//! Works from the JSON Schema of [`super::file`], so there is one description of the language and a new step
//! or field is known here without a line. Only the forms of schema those types give are understood.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use serde_json::Value;

use super::file::{CONSTANT, language_schema, part_schema, words};
use super::problem::Problem;
use super::tree::{Node, NodeValue};

/// Most problems that are looked for: nobody reads more, and a file can hold many.
const PROBLEMS_MAX: usize = 1_000;
/// Most blocks (`parallel`, `repeat`) within each other.
pub(super) const BLOCKS_MAX: usize = 8;

/// What may stand at a place.
#[derive(Debug)]
enum Shape {
    /// Any text.
    AnyText,
    /// A text of one of the formats of `words`.
    Formatted(&'static words::Format),
    /// One of these words.
    Choice(Vec<String>),
    /// `true` or `false`.
    Truth,
    /// A list of these.
    List(Box<Shape>),
    /// A block with these fields.
    Fields(Vec<Field>),
    /// A block with any keys of a format, and these behind them.
    Map(Option<&'static words::Format>, Box<Shape>),
    /// A value or a list of values.
    Constant,
    /// Whatever JSON can say.
    Free,
    /// Exactly one of these keys, with its shape: a step.
    OneOf(Vec<(String, Shape)>),
    /// The shape of this name: a step may hold steps.
    Named(String),
    /// Anything: the schema has a form that is not understood; the types decide.
    Anything,
}

#[derive(Debug)]
struct Field {
    key: String,
    required: bool,
    shape: Shape,
}

/// The whole language.
struct Language {
    root: Shape,
    /// A file that others include.
    part: Shape,
    named: HashMap<String, Shape>,
}

fn language() -> &'static Language {
    static LANGUAGE: OnceLock<Language> = OnceLock::new();
    LANGUAGE.get_or_init(|| {
        let root = language_schema().to_value();
        let named = root["$defs"].as_object().into_iter().flatten();
        Language {
            root: shape_of(&root),
            part: shape_of(&part_schema().to_value()),
            named: named.map(|(name, schema)| (name.clone(), shape_of(schema))).collect(),
        }
    })
}

impl Shape {
    /// The shape a name stands for.
    fn resolved(&self) -> &Self {
        match self {
            Self::Named(name) => language().named.get(name).unwrap_or(&Self::Anything),
            other => other,
        }
    }

    fn is_step(&self) -> bool {
        matches!(self.resolved(), Self::OneOf(_))
    }
}

/// Every problem of a document's structure; none means that the types will take it.
pub(super) fn check(document: &Node) -> Vec<Problem> {
    let mut walker = Walker { problems: Vec::new(), blocks: 0 };
    walker.walk(document, &language().root, "the file");
    walker.problems
}

/// Every problem of a part that stands for a named type of the language.
pub(super) fn check_part(node: &Node, type_name: &str, of: &str) -> Vec<Problem> {
    let mut walker = Walker { problems: Vec::new(), blocks: 0 };
    walker.walk(node, &Shape::Named(type_name.to_owned()), of);
    walker.problems
}

/// Every problem of a file that others include, apart from its steps, when they are left out.
pub(super) fn check_part_file(node: &Node) -> Vec<Problem> {
    let mut walker = Walker { problems: Vec::new(), blocks: 0 };
    walker.walk(node, &language().part, "an included file");
    walker.problems
}

fn shape_of(schema: &Value) -> Shape {
    if is_free(schema) {
        return Shape::Free;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.strip_prefix("#/$defs/");
        return name.map_or(Shape::Anything, |name| Shape::Named(name.to_owned()));
    }
    // `Option<T>` is `T` or null; in a file an absent field says that, so null is not taken.
    if let Some(options) = schema["anyOf"].as_array() {
        let mut real = options.iter().filter(|option| option["type"] != "null");
        return match (real.next(), real.next()) {
            (Some(only), None) => shape_of(only),
            _ => Shape::Anything,
        };
    }
    if let Some(variants) = schema["oneOf"].as_array() {
        let keyed = variants.iter().map(|variant| {
            let (key, value) = variant["properties"].as_object()?.iter().next()?;
            Some((key.clone(), shape_of(value)))
        });
        return keyed.collect::<Option<Vec<_>>>().map_or(Shape::Anything, Shape::OneOf);
    }
    if let Some(words) = schema["enum"].as_array() {
        return Shape::Choice(words.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    }
    if schema["format"] == CONSTANT {
        return Shape::Constant;
    }
    let is = |name: &str| match &schema["type"] {
        Value::String(only) => only == name,
        Value::Array(several) => several.iter().any(|one| one == name),
        _ => false,
    };
    if is("object") && schema["properties"].is_null() && schema["additionalProperties"].is_object() {
        let keys = format_of(&schema["propertyNames"]);
        return Shape::Map(keys, Box::new(shape_of(&schema["additionalProperties"])));
    }
    if is("object") {
        let required: Vec<_> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let fields = schema["properties"].as_object().into_iter().flatten().map(|(key, value)| Field {
            key: key.clone(),
            required: required.contains(&key.as_str()),
            shape: shape_of(value),
        });
        return Shape::Fields(fields.collect());
    }
    if is("boolean") {
        return Shape::Truth;
    }
    if is("array") {
        return Shape::List(Box::new(shape_of(&schema["items"])));
    }
    if is("string") {
        return format_of(schema).map_or(Shape::AnyText, Shape::Formatted);
    }
    Shape::Anything
}

fn format_of(schema: &Value) -> Option<&'static words::Format> {
    let format = schema["format"].as_str()?;
    words::FORMATS.iter().find(|known| known.name == format)
}

/// Whether a schema says nothing of the value.
fn is_free(schema: &Value) -> bool {
    match schema {
        Value::Bool(all) => *all,
        Value::Object(words) => words.keys().all(|word| matches!(word.as_str(), "description" | "title" | "default")),
        _ => false,
    }
}

/// Goes through a document and notes what is wrong.
struct Walker {
    problems: Vec<Problem>,
    /// How many steps the place is within.
    blocks: usize,
}

impl Walker {
    fn walk(&mut self, node: &Node, shape: &Shape, of: &str) {
        if matches!(node.value, NodeValue::Hole) || self.problems.len() >= PROBLEMS_MAX {
            return;
        }
        match shape.resolved() {
            Shape::Anything | Shape::Named(_) => {}
            Shape::Free => self.walk_free(node, of),
            Shape::Constant => self.walk_constant(node, of),
            Shape::AnyText => {
                if node.scalar().is_none() {
                    self.problems
                        .push(Problem::new(node.place, format!("{of} is {}", node.found())).expected("a text"));
                }
            }
            Shape::Formatted(format) => match node.scalar() {
                None => {
                    let what = format!("{of} is {}", node.found());
                    self.problems.push(Problem::new(node.place, what).expected(format.expected));
                }
                Some(text) => {
                    if let Some(why) = (format.refuse)(&text) {
                        self.problems.push(Problem::new(node.place, why).expected(format.expected));
                    }
                }
            },
            Shape::Choice(choices) => match node.scalar() {
                Some(text) if choices.contains(&text) => {}
                Some(text) => {
                    let all = || choices.iter().map(String::as_str);
                    let mut problem =
                        Problem::new(node.place, format!("{of} cannot be `{text}`")).nearest(&text, all());
                    // A long list says nothing to somebody who mistyped one word of it.
                    if problem.nearest.is_none() || choices.len() <= 8 {
                        problem = problem.expected(one_of(all()));
                    }
                    self.problems.push(problem);
                }
                None => self.problems.push(
                    Problem::new(node.place, format!("{of} is {}", node.found()))
                        .expected(one_of(choices.iter().map(String::as_str))),
                ),
            },
            Shape::Truth => {
                if !matches!(node.value, NodeValue::Bool(_)) {
                    let what = format!("{of} is {}", node.found());
                    self.problems.push(Problem::new(node.place, what).expected("`true` or `false`"));
                }
            }
            Shape::Map(keys, value) => self.walk_map(node, *keys, value, of),
            Shape::List(item) => match &node.value {
                NodeValue::List(_) if item.is_step() && self.blocks > BLOCKS_MAX => {
                    let expected = format!("at most {BLOCKS_MAX} `parallel` and `repeat` within each other");
                    self.problems
                        .push(Problem::new(node.place, "these steps stand too deep within others").expected(expected));
                }
                NodeValue::List(nodes) => {
                    let of = format!("an item of {of}");
                    for node in nodes {
                        self.walk(node, item, &of);
                    }
                }
                _ => {
                    let expected = match item.resolved() {
                        Shape::OneOf(_) => "a list of steps, each led by `- `",
                        Shape::List(item) if item.is_step() => "a list of lists of steps, such as [[…], […]]",
                        _ => "a list such as [a, b]",
                    };
                    self.problems
                        .push(Problem::new(node.place, format!("{of} is {}", node.found())).expected(expected));
                }
            },
            Shape::Fields(fields) => self.walk_fields(node, fields, of),
            Shape::OneOf(variants) => self.walk_step(node, variants),
        }
    }

    fn walk_map(&mut self, node: &Node, keys: Option<&words::Format>, value: &Shape, of: &str) {
        let NodeValue::Map(pairs) = &node.value else {
            let what = format!("{of} is {}", node.found());
            self.problems.push(Problem::new(node.place, what).expected("a block of `key: value`"));
            return;
        };
        let mut seen = HashSet::new();
        for (key, node) in pairs {
            let Some(name) = self.key(key, of) else { continue };
            if let Some((format, why)) = keys.and_then(|format| Some((format, (format.refuse)(&name)?))) {
                self.problems.push(Problem::new(key.place, why).expected(format.expected));
            }
            if seen.contains(&name) {
                self.problems.push(Problem::new(key.place, format!("`{name}` is given twice")));
                continue;
            }
            self.walk(node, value, &format!("`{name}`"));
            seen.insert(name);
        }
    }

    /// A key of a block whose keys are no words of the language.
    fn key(&mut self, key: &Node, of: &str) -> Option<String> {
        let name = key.scalar();
        if name.is_none() && !matches!(key.value, NodeValue::Hole) {
            let what = format!("a key of {of} is {}", key.found());
            self.problems.push(Problem::new(key.place, what).expected("a text"));
        }
        name
    }

    fn walk_constant(&mut self, node: &Node, of: &str) {
        let items = match &node.value {
            NodeValue::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        for item in items {
            if item.scalar().is_none() && !matches!(item.value, NodeValue::Hole) {
                let what = format!("a value of {of} is {}", item.found());
                self.problems.push(Problem::new(item.place, what).expected("a text, a number, `true` or `false`"));
            }
        }
    }

    /// JSON has no two fields of one name, and no field without one.
    fn walk_free(&mut self, node: &Node, of: &str) {
        match &node.value {
            NodeValue::List(items) => items.iter().for_each(|item| self.walk_free(item, of)),
            NodeValue::Map(pairs) => {
                let mut seen = HashSet::new();
                for (key, value) in pairs {
                    let Some(name) = self.key(key, of) else { continue };
                    if seen.contains(&name) {
                        self.problems.push(Problem::new(key.place, format!("`{name}` is given twice")));
                    }
                    seen.insert(name);
                    self.walk_free(value, of);
                }
            }
            _ => {}
        }
    }

    fn walk_fields(&mut self, node: &Node, fields: &[Field], of: &str) {
        let names = || fields.iter().map(|field| field.key.as_str());
        let NodeValue::Map(pairs) = &node.value else {
            let needed = all_of(fields.iter().filter(|field| field.required).map(|field| field.key.as_str()));
            let possible = one_of(fields.iter().filter(|field| !field.required).map(|field| field.key.as_str()));
            let expected = match (needed.as_str(), possible.as_str()) {
                (_, "") => format!("a block with {needed}"),
                ("", _) => format!("a block with {possible}"),
                _ => format!("a block with {needed}, and if need be {possible}"),
            };
            self.problems.push(Problem::new(node.place, format!("{of} is {}", node.found())).expected(expected));
            return;
        };
        let mut seen: Vec<&str> = Vec::new();
        // What a misspelled key stands for is not reported as missing as well.
        let mut meant: Vec<String> = Vec::new();
        for (key, value) in pairs {
            if matches!(key.value, NodeValue::Hole) {
                continue;
            }
            let NodeValue::Text(name) = &key.value else {
                let what = format!("a key of {of} is {}", key.found());
                self.problems.push(Problem::new(key.place, what).expected(one_of(names())));
                continue;
            };
            let Some(field) = fields.iter().find(|field| field.key == *name) else {
                let problem = Problem::new(key.place, format!("{of} has no `{name}`")).nearest(name, names());
                meant.extend(problem.nearest.clone());
                self.problems.push(problem.expected(one_of(names())));
                continue;
            };
            if seen.contains(&name.as_str()) {
                self.problems.push(Problem::new(key.place, format!("`{name}` is given twice")));
                continue;
            }
            seen.push(name);
            self.walk(value, &field.shape, &format!("`{name}`"));
        }
        let lacking = fields.iter().filter(|field| field.required).map(|field| field.key.as_str());
        let lacking: Vec<_> =
            lacking.filter(|key| !seen.contains(key) && !meant.iter().any(|word| word == key)).collect();
        if !lacking.is_empty() {
            self.problems.push(Problem::new(node.place, format!("{of} lacks {}", all_of(lacking.into_iter()))));
        }
    }

    fn walk_step(&mut self, node: &Node, variants: &[(String, Shape)]) {
        let names = || variants.iter().map(|(name, _)| name.as_str());
        let expected = || format!("one step, such as `- send: {{…}}`; the steps are {}", all_of(names()));
        let NodeValue::Map(pairs) = &node.value else {
            let mut problem = Problem::new(node.place, format!("a step is {}", node.found()));
            if let NodeValue::Text(text) = &node.value {
                problem = problem.nearest(text, names());
            }
            let expected = match &problem.nearest {
                Some(word) => format!("a block such as `- {word}: …`"),
                None => expected(),
            };
            self.problems.push(problem.expected(expected));
            return;
        };
        for (index, (key, value)) in pairs.iter().enumerate() {
            if matches!(key.value, NodeValue::Hole) {
                continue;
            }
            let name = key.scalar().unwrap_or_default();
            match variants.iter().find(|(variant, _)| *variant == name) {
                Some((_, shape)) => {
                    self.blocks += 1;
                    self.walk(value, shape, &format!("`{name}`"));
                    self.blocks -= 1;
                }
                // The fields of a step that was not indented far enough; the step itself is reported as empty.
                None if index > 0 => {}
                None => {
                    let mut problem =
                        Problem::new(key.place, format!("there is no step `{name}`")).nearest(&name, names());
                    // The long list says nothing to somebody who mistyped one word of it.
                    if problem.nearest.is_none() {
                        problem = problem.expected(one_of(names()));
                    }
                    self.problems.push(problem);
                }
            }
        }
        if let Some((second, _)) = pairs.get(1) {
            self.problems.push(Problem::new(second.place, "a step has one key").expected(
                "the fields of a step two columns further in than its name, and each step led by its own `- `",
            ));
        } else if pairs.is_empty() {
            self.problems.push(Problem::new(node.place, "a step is empty").expected(expected()));
        }
    }
}

fn quoted<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    words.map(|word| format!("`{word}`")).collect()
}

fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    join(&quoted(words), "or")
}

fn all_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    join(&quoted(words), "and")
}

fn join(words: &[String], last: &str) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [front @ .., end] => format!("{} {last} {end}", front.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the shape, or one within it, is not understood.
    fn has_anything(shape: &Shape) -> bool {
        match shape {
            Shape::Anything => true,
            Shape::AnyText | Shape::Formatted(_) | Shape::Choice(_) | Shape::Truth | Shape::Constant | Shape::Free => {
                false
            }
            Shape::Named(name) => !language().named.contains_key(name),
            Shape::List(item) | Shape::Map(_, item) => has_anything(item),
            Shape::Fields(fields) => fields.iter().any(|field| has_anything(&field.shape)),
            Shape::OneOf(variants) => variants.iter().any(|(_, shape)| has_anything(shape)),
        }
    }

    #[test]
    fn every_form_of_the_schema_is_understood() {
        let Language { root, part, named } = language();
        assert!(matches!(root, Shape::Fields(_)), "{root:?}");
        assert!(named.contains_key("Step"));
        for shape in [root, part].into_iter().chain(named.values()) {
            assert!(!has_anything(shape), "{shape:#?}");
        }
    }
}
