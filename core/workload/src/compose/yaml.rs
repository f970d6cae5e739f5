//! Which nodes does a YAML file hold, and where?
//!
//! A tree of exactly what is written: scalars stay text, and every node knows its place. What makes
//! two readers see two files is refused: anchors and aliases, merge keys, tags, duplicate keys, a
//! second document. Size, depth and number of nodes are bounded before memory is spent on them.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::error::{Error, Place, Problem};

/// Largest compose file, in bytes.
pub const MAXIMUM_BYTES: usize = 256 << 10;
const MAXIMUM_DEPTH: usize = 16;
const MAXIMUM_NODES: usize = 10_000;

/// A node and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Text; `plain` if it stands without quotes.
    Scalar { text: String, plain: bool },
    /// `- a`, `[a]`.
    Sequence(Vec<Node>),
    /// `a: b`, `{a: b}`; keys are unique.
    Mapping(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub place: Place,
    pub key: String,
    pub value: Node,
}

impl Node {
    /// Whether it says nothing: empty, `~` or `null` without quotes.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// Reads the one document of `text`.
pub(super) fn read(text: &str) -> Result<Node, Error> {
    if text.len() > MAXIMUM_BYTES {
        return Err(Problem::TooLong { found: text.len() }.at(Place::START));
    }
    let mut reader = Reader { parser: Parser::new_from_str(text), nodes: 0 };
    let mut root = None;
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::DocumentStart(_) if root.is_some() => return Err(Problem::SecondDocument.at(place(&span))),
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            Event::StreamEnd => return root.ok_or_else(|| Problem::Empty.at(Place::START)),
            other => root = Some(reader.node(other, span, 0)?),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Error> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let at = Place { line: error.marker().line(), column: error.marker().col() + 1 };
                Err(Problem::Yaml(error).at(at))
            }
            None => Err(Problem::Empty.at(Place::START)),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Error> {
        let at = place(&span);
        self.nodes += 1;
        if self.nodes > MAXIMUM_NODES {
            return Err(Problem::TooManyNodes { maximum: MAXIMUM_NODES }.at(at));
        }
        if depth > MAXIMUM_DEPTH {
            return Err(Problem::TooDeep { maximum: MAXIMUM_DEPTH }.at(at));
        }
        let value = match event {
            Event::Alias(_) => return Err(Problem::Anchor.at(at)),
            Event::Scalar(text, style, anchor, tag) => {
                refuse_decoration(anchor, tag.is_some(), at)?;
                if text.contains('\0') {
                    return Err(Problem::ControlCharacter.at(at));
                }
                Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_decoration(anchor, tag.is_some(), at)?;
                self.sequence(depth)?
            }
            Event::MappingStart(anchor, tag) => {
                refuse_decoration(anchor, tag.is_some(), at)?;
                self.mapping(depth)?
            }
            _ => return Err(Problem::Empty.at(at)),
        };
        Ok(Node { place: at, value })
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, Error> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Sequence(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, Error> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Value::Mapping(entries));
            }
            let key = self.node(event, span, depth + 1)?;
            let Value::Scalar { text, plain } = key.value else {
                return Err(Problem::KeyNotText.at(key.place));
            };
            if plain && text == "<<" {
                return Err(Problem::MergeKey.at(key.place));
            }
            if !seen.insert(text.clone()) {
                return Err(Problem::DuplicateKey { key: text }.at(key.place));
            }
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            entries.push(Entry { place: key.place, key: text, value });
        }
    }
}

fn refuse_decoration(anchor: usize, tagged: bool, at: Place) -> Result<(), Error> {
    if anchor != 0 {
        return Err(Problem::Anchor.at(at));
    }
    if tagged {
        return Err(Problem::Tag.at(at));
    }
    Ok(())
}

fn place(span: &Span) -> Place {
    Place { line: span.start.line(), column: span.start.col() + 1 }
}
