//! Reads types from a tree. Whatever asks for its place (`At`) gets the place of its part.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::SeqDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer as _, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::{Deserialize, de, forward_to_deserialize_any};

use super::{Node, NodeValue, Place};
use crate::scenario::file::At;
use crate::scenario::problem::Problem;

/// The name by which [`At`] asks for its place.
const AT: &str = "ackscope.at";

/// What a type says of a part that it does not take.
#[derive(Debug)]
pub(in crate::scenario) struct TypeError {
    place: Option<Place>,
    said: String,
}

impl TypeError {
    fn at(mut self, place: Place) -> Self {
        self.place.get_or_insert(place);
        self
    }
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

impl std::error::Error for TypeError {}

impl de::Error for TypeError {
    fn custom<T: fmt::Display>(said: T) -> Self {
        Self { place: None, said: said.to_string() }
    }
}

impl Node {
    /// The type that the tree stands for; a value that the structural check let through may still be refused.
    pub(in crate::scenario) fn read<T: de::DeserializeOwned>(&self) -> Result<T, Problem> {
        T::deserialize(self).map_err(|error| Problem::new(error.place.unwrap_or(self.place), error.said))
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = TypeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        let read = match &self.value {
            NodeValue::Nothing | NodeValue::Hole => visitor.visit_unit(),
            NodeValue::Bool(value) => visitor.visit_bool(*value),
            NodeValue::Integer(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_i64(value),
                (_, Ok(value)) => visitor.visit_u64(value),
                _ => visitor.visit_f64(*value as f64),
            },
            NodeValue::Float(value) => visitor.visit_f64(*value),
            NodeValue::Text(text) => visitor.visit_str(text),
            NodeValue::List(items) => visitor.visit_seq(Items(items.iter())),
            NodeValue::Map(pairs) => visitor.visit_map(Pairs { pairs: pairs.iter(), value: None }),
        };
        read.map_err(|error| error.at(self.place))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match self.scalar() {
            Some(text) => visitor.visit_string(text).map_err(|error: TypeError| error.at(self.place)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match self.value {
            NodeValue::Nothing => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        if name == AT {
            visitor.visit_seq(PlaceAndValue { node: self, next: 0 })
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        let read = match &self.value {
            NodeValue::Map(pairs) => match pairs.as_slice() {
                [(key, value)] => visitor.visit_enum(Choice { key, value }),
                _ => Err(de::Error::custom("expected exactly one key")),
            },
            NodeValue::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            _ => Err(de::Error::custom(format!("expected a block with one key, found {}", self.found()))),
        };
        read.map_err(|error| error.at(self.place))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct ignored_any
    }
}

struct Items<'de>(std::slice::Iter<'de, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = TypeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, TypeError> {
        self.0.next().map(|node| seed.deserialize(node)).transpose()
    }
}

struct Pairs<'de> {
    pairs: std::slice::Iter<'de, (Node, Node)>,
    value: Option<&'de Node>,
}

impl<'de> MapAccess<'de> for Pairs<'de> {
    type Error = TypeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, TypeError> {
        let Some((key, value)) = self.pairs.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, TypeError> {
        let value = self.value.take().ok_or_else(|| de::Error::custom("a value without its key"))?;
        seed.deserialize(value)
    }
}

/// The one key of a block, which says which variant it is.
struct Choice<'de> {
    key: &'de Node,
    value: &'de Node,
}

impl<'de> EnumAccess<'de> for Choice<'de> {
    type Error = TypeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), TypeError> {
        seed.deserialize(self.key).map(|variant| (variant, self))
    }
}

impl<'de> VariantAccess<'de> for Choice<'de> {
    type Error = TypeError;

    fn unit_variant(self) -> Result<(), TypeError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, TypeError> {
        seed.deserialize(self.value)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, TypeError> {
        self.value.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, TypeError> {
        self.value.deserialize_any(visitor)
    }
}

/// What an [`At`] is read from: the place, then the value.
struct PlaceAndValue<'de> {
    node: &'de Node,
    next: u8,
}

impl<'de> SeqAccess<'de> for PlaceAndValue<'de> {
    type Error = TypeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, TypeError> {
        self.next += 1;
        match self.next {
            1 => {
                let Place { file, line, column, width } = self.node.place;
                seed.deserialize(SeqDeserializer::new([file, line, column, width].into_iter())).map(Some)
            }
            2 => seed.deserialize(self.node).map(Some),
            _ => Ok(None),
        }
    }
}

/// Reads an [`At`]. From anything but a tree it has no place.
pub(in crate::scenario) struct AtVisitor<T>(PhantomData<T>);

impl<T> AtVisitor<T> {
    /// Asks for a value and its place.
    pub(in crate::scenario) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<At<T>, D::Error>
    where
        T: Deserialize<'de>,
    {
        deserializer.deserialize_newtype_struct(AT, Self(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for AtVisitor<T> {
    type Value = At<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<At<T>, D::Error> {
        T::deserialize(deserializer).map(|value| At { value, place: Place::default() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut both: A) -> Result<At<T>, A::Error> {
        let lacking = || de::Error::custom("a value without its place");
        let (file, line, column, width) = both.next_element::<(u32, u32, u32, u32)>()?.ok_or_else(lacking)?;
        let value = both.next_element()?.ok_or_else(lacking)?;
        Ok(At { value, place: Place { file, line, column, width } })
    }
}
