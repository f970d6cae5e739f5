//! How is a signed XML document read, and which of its bytes are signed?
//!
//! Canonical XML 1.1 (W3C, "inclusive") of the small part of XML that NVIDIA's manifests use: elements,
//! attributes, namespaces and text. Everything else is refused: declarations and document types, comments,
//! processing instructions, CDATA, other entities than the five of XML, carriage returns, `xml:` attributes.
//! A manifest is read from the very tree whose canonical form is digested, so a difference between this
//! parser and another one cannot make two documents of one signature. Why it is our own:
//! `docs/decisions/0012-canonical-xml.md`.

use std::collections::BTreeMap;

/// Why text is no XML that Casemate reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum XmlError {
    /// Larger than any in use.
    #[error("{found} bytes of XML, at most {maximum} are accepted", maximum = MAXIMUM_LEN)]
    TooLong {
        /// Length in bytes.
        found: usize,
    },
    /// Not the expected character.
    #[error("XML at byte {offset}: expected {expected}")]
    Syntax {
        /// Where.
        offset: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// A construct that manifests have no use for.
    #[error("XML at byte {offset}: {found} is not accepted in a manifest")]
    Refused {
        /// Where.
        offset: usize,
        /// The construct.
        found: &'static str,
    },
    /// More than any manifest has; each costs all of the others something.
    #[error("XML at byte {offset}: more than {maximum} {found}")]
    TooMany {
        /// Where.
        offset: usize,
        /// What there is too much of.
        found: &'static str,
        /// Greatest number accepted.
        maximum: usize,
    },
    /// Elements within elements.
    #[error("XML at byte {offset}: deeper than {maximum} elements", maximum = MAXIMUM_DEPTH)]
    TooDeep {
        /// Where.
        offset: usize,
    },
}

/// An element, with its prefixes resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    /// As written, with its prefix.
    pub qualified: String,
    pub namespace: String,
    pub name: String,
    /// Declared here: prefix (empty for the default) and namespace.
    declarations: BTreeMap<String, String>,
    pub attributes: Vec<Attribute>,
    pub children: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute {
    qualified: String,
    pub namespace: String,
    pub name: String,
    pub value: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Element(Element),
    Text(String),
}

type Scope = BTreeMap<String, String>;

/// The root element of a document.
pub(super) fn parse(text: &str) -> Result<Element, XmlError> {
    if text.len() > MAXIMUM_LEN {
        return Err(XmlError::TooLong { found: text.len() });
    }
    let mut parser = Parser { text, at: 0, elements: 0, declarations: 0 };
    parser.skip_space();
    let root = parser.element(&Scope::new(), 1)?;
    parser.skip_space();
    if parser.at < text.len() {
        return Err(parser.syntax("the end of the document"));
    }
    Ok(root)
}

impl Element {
    /// The elements within, in their order.
    pub fn elements(&self) -> impl Iterator<Item = &Element> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The text within, if there are no elements.
    pub fn text(&self) -> Option<String> {
        let mut text = String::new();
        for node in &self.children {
            match node {
                Node::Text(part) => text.push_str(part),
                Node::Element(_) => return None,
            }
        }
        Some(text)
    }

    /// The value of an attribute without a prefix.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|found| found.namespace.is_empty() && found.name == name);
        found.map(|found| found.value.as_str())
    }

    /// Canonical XML 1.1 of this document without the children of the root that `left_out` names.
    pub fn canonical_without(&self, left_out: impl Fn(&Element) -> bool) -> Vec<u8> {
        let mut out = String::new();
        let root = Element {
            children: self
                .children
                .iter()
                .filter(|node| !matches!(node, Node::Element(element) if left_out(element)))
                .cloned()
                .collect(),
            ..self.clone()
        };
        root.write(&Scope::new(), &Scope::new(), &mut out);
        out.into_bytes()
    }

    /// Canonical XML 1.1 of this element by itself, below `ancestors`: it carries their namespaces along.
    pub fn canonical_below(&self, ancestors: &[&Element]) -> Vec<u8> {
        let mut inherited = Scope::new();
        for ancestor in ancestors {
            inherited.extend(ancestor.declarations.clone());
        }
        let mut out = String::new();
        self.write(&Scope::new(), &inherited, &mut out);
        out.into_bytes()
    }

    /// `written`: what the element above has written; `inherited`: what holds there besides.
    fn write(&self, written: &Scope, inherited: &Scope, out: &mut String) {
        let mut scope = written.clone();
        scope.extend(inherited.clone());
        scope.extend(self.declarations.clone());
        out.push('<');
        out.push_str(&self.qualified);
        // C14N 1.1 §2.3: namespaces by prefix, the default first; only what differs from the element above.
        for (prefix, namespace) in &scope {
            if written.get(prefix) == Some(namespace) {
                continue;
            }
            let name = if prefix.is_empty() { "xmlns".to_owned() } else { format!("xmlns:{prefix}") };
            write_attribute(&name, namespace, out);
        }
        // Attributes by namespace, then by name; those without a prefix have none.
        let mut attributes: Vec<&Attribute> = self.attributes.iter().collect();
        attributes.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        for attribute in attributes {
            write_attribute(&attribute.qualified, &attribute.value, out);
        }
        out.push('>');
        for child in &self.children {
            match child {
                Node::Element(element) => element.write(&scope, &Scope::new(), out),
                Node::Text(text) => escape(text, out, |character| match character {
                    '&' => Some("&amp;"),
                    '<' => Some("&lt;"),
                    '>' => Some("&gt;"),
                    _ => None,
                }),
            }
        }
        out.push_str("</");
        out.push_str(&self.qualified);
        out.push('>');
    }
}

fn write_attribute(name: &str, value: &str, out: &mut String) {
    out.push(' ');
    out.push_str(name);
    out.push_str("=\"");
    escape(value, out, |character| match character {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '"' => Some("&quot;"),
        _ => None,
    });
    out.push('"');
}

fn escape(text: &str, out: &mut String, replacement: fn(char) -> Option<&'static str>) {
    for character in text.chars() {
        match replacement(character) {
            Some(replacement) => out.push_str(replacement),
            None => out.push(character),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// Of the document so far.
    elements: usize,
    declarations: usize,
}

impl<'a> Parser<'a> {
    fn element(&mut self, scope: &Scope, depth: usize) -> Result<Element, XmlError> {
        if depth > MAXIMUM_DEPTH {
            return Err(XmlError::TooDeep { offset: self.at });
        }
        self.elements += 1;
        self.check_number("elements", self.elements, MAXIMUM_ELEMENTS)?;
        self.refuse_markup()?;
        self.expect("<")?;
        let qualified = self.name()?;
        let mut raw: Vec<(&str, String, usize)> = Vec::new();
        let is_empty = loop {
            let spaces = self.skip_space();
            if self.take("/>") {
                break true;
            }
            if self.take(">") {
                break false;
            }
            if spaces == 0 {
                return Err(self.syntax("a space, `>` or `/>`"));
            }
            let offset = self.at;
            self.check_number("attributes of an element", raw.len() + 1, MAXIMUM_ATTRIBUTES)?;
            let name = self.name()?;
            if raw.iter().any(|(found, ..)| *found == name) {
                return Err(XmlError::Refused { offset, found: "an attribute twice" });
            }
            self.skip_space();
            self.expect("=")?;
            self.skip_space();
            raw.push((name, self.value()?, offset));
        };
        let mut element = self.resolve(qualified, raw, scope)?;
        if !is_empty {
            let mut inner = scope.clone();
            inner.extend(element.declarations.clone());
            self.content(&mut element, &inner, depth)?;
        }
        Ok(element)
    }

    fn content(&mut self, element: &mut Element, scope: &Scope, depth: usize) -> Result<(), XmlError> {
        loop {
            let text = self.text_until('<')?;
            if !text.is_empty() {
                element.children.push(Node::Text(text));
            }
            if self.take("</") {
                if self.name()? != element.qualified {
                    return Err(self.syntax("the end of the element that was begun"));
                }
                self.skip_space();
                return self.expect(">");
            }
            element.children.push(Node::Element(self.element(scope, depth + 1)?));
        }
    }

    /// Declarations and attributes apart, prefixes by their namespaces.
    fn resolve(
        &mut self,
        qualified: &str,
        raw: Vec<(&str, String, usize)>,
        scope: &Scope,
    ) -> Result<Element, XmlError> {
        let mut declarations = Scope::new();
        for (name, value, offset) in &raw {
            let prefix = match name.strip_prefix("xmlns:") {
                Some(prefix) => prefix,
                None if *name == "xmlns" => "",
                None => continue,
            };
            if value.is_empty() || prefix.starts_with("xml") {
                return Err(XmlError::Refused { offset: *offset, found: "a namespace without a name" });
            }
            declarations.insert(prefix.to_owned(), value.clone());
        }
        self.declarations += declarations.len();
        self.check_number("declarations of namespaces", self.declarations, MAXIMUM_DECLARATIONS)?;
        let mut inner = scope.clone();
        inner.extend(declarations.clone());
        let find = |prefix: &str, offset: usize| {
            let found = inner.get(prefix).cloned();
            found.ok_or(XmlError::Refused { offset, found: "a prefix that is not declared" })
        };
        let (prefix, name) = qualified.split_once(':').unwrap_or(("", qualified));
        let namespace = if prefix.is_empty() {
            inner.get("").cloned().unwrap_or_default()
        } else {
            find(prefix, self.at)?
        };
        let mut attributes: Vec<Attribute> = Vec::new();
        for (found, value, offset) in raw {
            if found == "xmlns" || found.starts_with("xmlns:") {
                continue;
            }
            let (namespace, name) = match found.split_once(':') {
                Some((prefix, name)) => (find(prefix, offset)?, name),
                None => (String::new(), found),
            };
            if attributes.iter().any(|other| other.namespace == namespace && other.name == name) {
                return Err(XmlError::Refused { offset, found: "an attribute twice" });
            }
            let (qualified, name) = (found.to_owned(), name.to_owned());
            attributes.push(Attribute { qualified, namespace, name, value });
        }
        let (qualified, name) = (qualified.to_owned(), name.to_owned());
        Ok(Element { qualified, namespace, name, declarations, attributes, children: Vec::new() })
    }

    /// Letters, digits, `_`, `-` and `.`, with at most one prefix.
    fn name(&mut self) -> Result<&'a str, XmlError> {
        let rest = &self.text[self.at..];
        let belongs = |character: char| character.is_ascii_alphanumeric() || "_-.:".contains(character);
        let end = rest.find(|character| !belongs(character)).unwrap_or(rest.len());
        let name = &rest[..end];
        let parts: Vec<&str> = name.split(':').collect();
        let begins =
            |part: &&str| part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        if parts.len() > 2 || !parts.iter().all(begins) {
            return Err(self.syntax("a name of ASCII letters and digits"));
        }
        self.at += end;
        Ok(name)
    }

    fn value(&mut self) -> Result<String, XmlError> {
        self.expect("\"")?;
        let start = self.at;
        let value = self.text_until('"')?;
        if self.text[start..self.at].contains(['<', '\n', '\t']) {
            return Err(XmlError::Refused {
                offset: start,
                found: "`<`, a tab or a line's end in an attribute",
            });
        }
        self.expect("\"")?;
        Ok(value)
    }

    /// Text with its entities resolved, up to `end`.
    fn text_until(&mut self, end: char) -> Result<String, XmlError> {
        let rest = &self.text[self.at..];
        let length = rest.find(end).ok_or_else(|| self.syntax("a closing tag or quotation mark"))?;
        let raw = &rest[..length];
        if raw.contains(|character: char| character.is_ascii_control() && !"\n\t".contains(character)) {
            return Err(XmlError::Refused { offset: self.at, found: "a control character" });
        }
        if raw.contains("]]>") {
            return Err(XmlError::Refused { offset: self.at, found: "`]]>`" });
        }
        let mut text = String::with_capacity(raw.len());
        let mut parts = raw.split('&');
        text.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let known = ENTITIES
                .iter()
                .find_map(|(name, character)| part.strip_prefix(name).map(|rest| (character, rest)));
            let Some((character, rest)) = known else {
                return Err(XmlError::Refused {
                    offset: self.at,
                    found: "an entity other than the five of XML",
                });
            };
            text.push(*character);
            text.push_str(rest);
        }
        self.at += length;
        Ok(text)
    }

    fn check_number(&self, found: &'static str, number: usize, maximum: usize) -> Result<(), XmlError> {
        if number <= maximum { Ok(()) } else { Err(XmlError::TooMany { offset: self.at, found, maximum }) }
    }

    fn refuse_markup(&self) -> Result<(), XmlError> {
        let offset = self.at;
        let rest = &self.text[self.at..];
        if rest.starts_with("<?") {
            return Err(XmlError::Refused { offset, found: "a processing instruction or declaration" });
        }
        if rest.starts_with("<!") {
            return Err(XmlError::Refused { offset, found: "a comment, CDATA or document type" });
        }
        Ok(())
    }

    fn skip_space(&mut self) -> usize {
        let rest = &self.text[self.at..];
        let skipped = rest.len() - rest.trim_start_matches([' ', '\n', '\t']).len();
        self.at += skipped;
        skipped
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.text[self.at..].starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn expect(&mut self, text: &'static str) -> Result<(), XmlError> {
        if self.take(text) { Ok(()) } else { Err(self.syntax(text)) }
    }

    fn syntax(&self, expected: &'static str) -> XmlError {
        XmlError::Syntax { offset: self.at, expected }
    }
}

const ENTITIES: [(&str, char); 5] =
    [("amp;", '&'), ("lt;", '<'), ("gt;", '>'), ("quot;", '"'), ("apos;", '\'')];
const MAXIMUM_LEN: usize = 256 * 1024;
const MAXIMUM_DEPTH: usize = 16;
const MAXIMUM_ELEMENTS: usize = 512;
const MAXIMUM_ATTRIBUTES: usize = 64;
const MAXIMUM_DECLARATIONS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        let root = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        String::from_utf8(root.canonical_without(|_| false)).unwrap()
    }

    /// Canonical XML 1.1 §3.3 and §3.4, without what is refused here, and the rules of §2.3.
    #[test]
    fn canonical_form_follows_the_recommendation() {
        for (written, expected) in [
            ("<e1   />", "<e1></e1>"),
            ("<e2   ></e2>", "<e2></e2>"),
            (r#"<e3   name = "elem3"   id="elem3"   />"#, r#"<e3 id="elem3" name="elem3"></e3>"#),
            (
                r#"<e5 a:attr="out" b:attr="sorted" attr2="all" attr="I'm" xmlns:b="http://www.ietf.org" xmlns:a="http://www.w3.org" xmlns="http://example.org"/>"#,
                r#"<e5 xmlns="http://example.org" xmlns:a="http://www.w3.org" xmlns:b="http://www.ietf.org" attr="I'm" attr2="all" b:attr="sorted" a:attr="out"></e5>"#,
            ),
            (
                r#"<e6 xmlns:a="http://www.w3.org"><e7 xmlns="http://www.ietf.org"><e8 xmlns:a="http://www.w3.org"><a:e9 xmlns="http://www.ietf.org"/></e8></e7></e6>"#,
                r#"<e6 xmlns:a="http://www.w3.org"><e7 xmlns="http://www.ietf.org"><e8><a:e9></a:e9></e8></e7></e6>"#,
            ),
            (
                r#"<c a="&quot;&gt;&amp;&apos;&lt;">&quot;&gt;&amp;&apos;&lt; x</c>"#,
                r#"<c a="&quot;>&amp;'&lt;">"&gt;&amp;'&lt; x</c>"#,
            ),
            (" <d>\n  <e/> x\n</d>\n", "<d>\n  <e></e> x\n</d>"),
        ] {
            assert_eq!(canonical(written), expected);
            assert_eq!(canonical(expected), expected, "a canonical form is its own");
        }
    }

    #[test]
    fn an_element_by_itself_carries_the_namespaces_above_it() {
        let root =
            parse(r#"<a xmlns="u:0" xmlns:n="u:1"><n:b xmlns:m="u:2"><c m:x="1"/></n:b></a>"#).unwrap();
        let b = root.elements().next().unwrap();
        let c = b.elements().next().unwrap();
        assert_eq!(
            String::from_utf8(c.canonical_below(&[&root, b])).unwrap(),
            r#"<c xmlns="u:0" xmlns:m="u:2" xmlns:n="u:1" m:x="1"></c>"#
        );
        assert_eq!((c.namespace.as_str(), c.name.as_str()), ("u:0", "c"));
        let without = root.canonical_without(|element| element.name == "b");
        assert_eq!(without, br#"<a xmlns="u:0" xmlns:n="u:1"></a>"#);
    }

    #[test]
    fn whatever_a_manifest_has_no_use_for_is_refused() {
        let refused = |text: &str| matches!(parse(text), Err(XmlError::Refused { .. }));
        for text in [
            "<?xml version=\"1.0\"?><a/>",
            "<!DOCTYPE a><a/>",
            "<a><!-- x --></a>",
            "<a><![CDATA[x]]></a>",
            "<a><?p?></a>",
            "<a>&#65;</a>",
            "<a>&e;</a>",
            "<a>x]]>y</a>",
            "<a>\r</a>",
            "<a b=\"<\"/>",
            "<a b=\"\n\"/>",
            "<a b=\"1\" b=\"2\"/>",
            "<a xmlns:p=\"u\" xmlns:q=\"u\" p:b=\"1\" q:b=\"2\"/>",
            "<p:a/>",
            "<a p:b=\"1\"/>",
            "<a xml:base=\"u\"/>",
            "<a xmlns=\"\"/>",
            "<a xmlns:xml=\"u\"/>",
        ] {
            assert!(refused(text), "{text}: {:?}", parse(text));
        }
        for text in [
            "",
            "a",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<a b='1'/>",
            "<a b=1/>",
            "<1/>",
            "<a:b:c/>",
            "<a b=\"1\"c=\"2\"/>",
        ] {
            assert!(matches!(parse(text), Err(XmlError::Syntax { .. })), "{text}: {:?}", parse(text));
        }
        let deep = "<a>".repeat(17) + &"</a>".repeat(17);
        assert!(matches!(parse(&deep), Err(XmlError::TooDeep { .. })));
        let declared: String = (0..17).map(|n| format!(" xmlns:p{n}=\"u\"")).collect();
        let attributes: String = (0..65).map(|n| format!(" a{n}=\"\"")).collect();
        for (text, found) in [
            (format!("<a>{}</a>", "<b/>".repeat(512)), "elements"),
            (format!("<a{attributes}/>"), "attributes of an element"),
            (format!("<a{declared}/>"), "declarations of namespaces"),
        ] {
            let refused = parse(&text);
            assert!(
                matches!(refused, Err(XmlError::TooMany { found: what, .. }) if what == found),
                "{found}"
            );
        }
        let long = " ".repeat(MAXIMUM_LEN + 1);
        assert!(matches!(parse(&long), Err(XmlError::TooLong { .. })));
    }
}
