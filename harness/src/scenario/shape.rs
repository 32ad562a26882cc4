//! Checks a document's structure against the language's own schema and says everything that is wrong.
//!
//! Works from the JSON Schema of [`super::file`], so there is one description of the language and a new step
//! or field is known here without a line. Only the forms of schema those types give are understood.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::Value;

use super::file::{schema, words};
use super::problem::Problem;
use super::tree::{Node, NodeValue};

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
    /// A block with any keys, and these behind them.
    Map(Box<Shape>),
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
    named: HashMap<String, Shape>,
}

fn language() -> &'static Language {
    static LANGUAGE: OnceLock<Language> = OnceLock::new();
    LANGUAGE.get_or_init(|| {
        let root = schema().to_value();
        let named = root["$defs"].as_object().into_iter().flatten();
        Language {
            root: shape_of(&root),
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

fn shape_of(schema: &Value) -> Shape {
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
    let is = |name: &str| match &schema["type"] {
        Value::String(only) => only == name,
        Value::Array(several) => several.iter().any(|one| one == name),
        _ => false,
    };
    if is("object") && schema["properties"].is_null() && schema["additionalProperties"].is_object() {
        return Shape::Map(Box::new(shape_of(&schema["additionalProperties"])));
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
        let format = schema["format"].as_str();
        return words::FORMATS.iter().find(|known| Some(known.name) == format).map_or(Shape::AnyText, Shape::Formatted);
    }
    Shape::Anything
}

/// Goes through a document and notes what is wrong.
struct Walker {
    problems: Vec<Problem>,
    /// How many steps the place is within.
    blocks: usize,
}

impl Walker {
    fn walk(&mut self, node: &Node, shape: &Shape, of: &str) {
        match shape.resolved() {
            Shape::Anything | Shape::Named(_) => {}
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
            Shape::Map(value) => self.walk_map(node, value, of),
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

    fn walk_map(&mut self, node: &Node, value: &Shape, of: &str) {
        let NodeValue::Map(pairs) = &node.value else {
            let what = format!("{of} is {}", node.found());
            self.problems.push(Problem::new(node.place, what).expected("a block of `key: value`"));
            return;
        };
        for (key, node) in pairs {
            let Some(name) = key.scalar() else {
                let what = format!("a key of {of} is {}", key.found());
                self.problems.push(Problem::new(key.place, what).expected("a text"));
                continue;
            };
            self.walk(node, value, &format!("`{name}`"));
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
            let mut problem = Problem::new(node.place, format!("a step is {}", node.found())).expected(expected());
            if let NodeValue::Text(text) = &node.value {
                problem = problem.nearest(text, names());
            }
            self.problems.push(problem);
            return;
        };
        for (index, (key, value)) in pairs.iter().enumerate() {
            let name = key.scalar().unwrap_or_default();
            match variants.iter().find(|(variant, _)| *variant == name) {
                Some((_, shape)) => {
                    self.blocks += 1;
                    self.walk(value, shape, &format!("`{name}`"));
                    self.blocks -= 1;
                }
                // The fields of a step that was not indented far enough; the step itself is reported as empty.
                None if index > 0 => {}
                None => self.problems.push(
                    Problem::new(key.place, format!("there is no step `{name}`"))
                        .nearest(&name, names())
                        .expected(one_of(names())),
                ),
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
            Shape::AnyText | Shape::Formatted(_) | Shape::Choice(_) | Shape::Truth => false,
            Shape::Named(name) => !language().named.contains_key(name),
            Shape::List(item) | Shape::Map(item) => has_anything(item),
            Shape::Fields(fields) => fields.iter().any(|field| has_anything(&field.shape)),
            Shape::OneOf(variants) => variants.iter().any(|(_, shape)| has_anything(shape)),
        }
    }

    #[test]
    fn every_form_of_the_schema_is_understood() {
        let Language { root, named } = language();
        assert!(matches!(root, Shape::Fields(_)), "{root:?}");
        assert!(named.contains_key("Step"));
        for shape in std::iter::once(root).chain(named.values()) {
            assert!(!has_anything(shape), "{shape:#?}");
        }
    }
}
