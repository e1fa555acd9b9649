//! What `parse` takes, and how it refuses.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> (Option<Node>, Vec<Mistake>) {
    parse(Arc::new("f.yml".into()), text.as_bytes(), Severity::Error)
}

fn good(text: &str) -> Node {
    let (node, mistakes) = read(text);
    assert!(mistakes.is_empty(), "{text:?}: {mistakes:?}");
    node.unwrap()
}

/// The first mistake as `line:column message; remedy`.
fn bad(text: &str) -> String {
    let (_, mistakes) = read(text);
    let m = mistakes.first().unwrap_or_else(|| panic!("no mistake in {text:?}"));
    format!("{}:{} {}; {}", m.place.line, m.place.column, m.message, m.remedy.as_deref().unwrap_or(""))
}

fn find<'n>(node: &'n Node, path: &[&str]) -> &'n Node {
    path.iter().fold(node, |n, key| match &n.kind {
        Kind::Sequence(s) => &s[key.parse::<usize>().unwrap()],
        _ => n.as_mapping().unwrap().get(key).unwrap(),
    })
}

#[test]
fn every_node_knows_its_line_and_column() {
    let tree = good("run:\n  web:\n    ports:\n      - port: 3000\n      - {port: 4000, ü: é}\n    empty:\n");
    assert_eq!(find(&tree, &["run", "web", "ports", "0", "port"]).place, Place { line: 4, column: 15 });
    assert_eq!(find(&tree, &["run", "web", "ports", "1", "ü"]).place, Place { line: 5, column: 25 });
    assert_eq!(find(&tree, &["run", "web", "empty"]).place, Place { line: 6, column: 5 });
    assert!(find(&tree, &["run", "web", "empty"]).is_null());
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_fine() {
    let tree = good("\u{feff}a: 1\r\nb: 2\r\n");
    assert_eq!(find(&tree, &["a"]).place, Place { line: 1, column: 4 });
    assert_eq!(find(&tree, &["b"]).as_scalar().unwrap().text, "2");
}

#[test]
fn a_tab_may_separate_a_key_from_its_value() {
    let tree = good("a:\tb\nc:\t \t8\nü:\t-x\nd: |\n  e:\tf\ng: \"h:\ti\"\nj: {k:\tl}\n");
    let text = |key: &str| find(&tree, &[key]).as_scalar().unwrap().text.clone();
    assert_eq!((text("a"), text("c"), text("ü"), text("g")), ("b".into(), "8".into(), "-x".into(), "h:\ti".into()));
    assert_eq!(text("d"), "e:\tf\n", "what stands in a block is kept");
    assert_eq!(find(&tree, &["c"]).place, Place { line: 2, column: 6 });
    // Of as many as a megabyte may hold a few are read: it ends soon.
    let many: String = (0..100_000).map(|i| format!("{i}:\tb\n")).collect();
    assert!(bad(&many).contains("a tab stands before this"));
}

#[test]
fn blocks_fold_and_keep_their_lines() {
    let tree = good("a: |\n  x\n  \ty\nb: >-\n  one\n  two\n");
    assert_eq!(find(&tree, &["a"]).as_scalar().unwrap().text, "x\n\ty\n");
    assert_eq!(find(&tree, &["b"]).as_scalar().unwrap().text, "one two");
}

#[test]
fn aliases_and_merges_are_followed() {
    let tree = good("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\nlist:\n  <<: [*b, {z: 4, x: 9}]\nagain: *b\n");
    let text = |path: &[&str]| find(&tree, path).as_scalar().unwrap().text.clone();
    assert_eq!((text(&["use", "x"]), text(&["use", "y"])), ("1".into(), "3".into()));
    assert_eq!((text(&["list", "x"]), text(&["list", "z"])), ("1".into(), "4".into()));
    assert_eq!(text(&["again", "y"]), "2");
    assert!(bad("a:\n  <<: 3\n").starts_with("2:7 expected a mapping to merge, found a whole number"));
}

#[test]
fn every_repetition_of_a_key_is_told_and_the_last_counts() {
    let (tree, mistakes) = read("a: 1\nb:\n  c: 1\n  c: 2\na: 2\na: 3\n");
    let told: Vec<_> = mistakes.iter().map(|m| (m.place.line, m.field.as_str())).collect();
    assert_eq!(told, [(4, "b.c"), (5, "a"), (6, "a")]);
    assert!(mistakes[1].message.contains("before on line 1"));
    assert_eq!(find(&tree.unwrap(), &["a"]).as_scalar().unwrap().text, "3");
    let (_, mistakes) = parse(Arc::new("f".into()), b"a: 1\na: 2\n", Severity::Warning);
    assert_eq!(mistakes[0].severity, Severity::Warning);
}

#[test]
fn a_tab_as_indentation_is_shown_where_it_stands() {
    let (_, mistakes) = read("a:\n\tb: 1\n");
    assert_eq!(mistakes[0].place, Place { line: 2, column: 1 });
    assert!(mistakes[0].message.contains("tab"), "{:?}", mistakes[0]);
    assert_eq!(mistakes[0].excerpt.as_deref(), Some("→b: 1"));
    assert!(bad("a:\n  b:\n  \tc: 1\n").starts_with("3:3 a tab"));
    assert!(bad("a:\n  b: 1\n\tc: 2\n").starts_with("3:1 a tab"));
}

#[test]
fn an_empty_file_is_a_mistake_and_not_nothing() {
    for text in ["", "\n\n", "# only words\n", "---\n", "---\n...\n", "~\n"] {
        assert!(bad(text).starts_with("0:0 the file is empty"), "{text:?}: {}", bad(text));
    }
}

#[test]
fn a_second_document_is_refused_at_its_begin() {
    assert!(bad("a: 1\n---\nb: 2\n").starts_with("2:1 a second document"));
    good("---\na: 1\n...\n");
}

#[test]
fn a_file_that_is_too_large_is_not_parsed() {
    let (tree, mistakes) = parse(Arc::new("f".into()), &vec![b'x'; 10 << 20], Severity::Error);
    assert!(tree.is_none());
    assert!(mistakes[0].message.contains("10485760 bytes"), "{:?}", mistakes[0]);
}

#[test]
fn an_alias_bomb_is_a_clear_error() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let refs = vec![format!("*a{}", i - 1); 9].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
    }
    assert!(bad(&bomb).contains("aliases repeat too much"), "{}", bad(&bomb));
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 100].join(", "));
    assert!(bad(&long).contains("aliases repeat too much"), "{}", bad(&long));
    assert!(bad("a: &a [*a]\n").contains("inside its own anchor"));
    assert!(bad("a: *b\n").contains("no `&` anchor"));
}

#[test]
fn deep_nesting_is_a_clear_error() {
    let flow = format!("a: {}{}", "[".repeat(80), "]".repeat(80));
    assert!(bad(&flow).contains("nest deeper than 64"), "{}", bad(&flow));
    let block: String = (0..80).map(|i| format!("{}k:\n", " ".repeat(i))).collect();
    assert!(bad(&block).contains("nest deeper than 64"), "{}", bad(&block));
    let anchored = format!("a: &a {}{}\nb: {}*a{}\n", "[".repeat(40), "]".repeat(40), "[".repeat(40), "]".repeat(40));
    assert!(bad(&anchored).contains("nest deeper than 64"), "{}", bad(&anchored));
}

#[test]
fn too_many_values_are_a_clear_error() {
    assert!(bad(&"- 1\n".repeat(120_000)).contains("more than 100000 values"));
}

#[test]
fn bytes_that_are_no_utf8_are_shown_where_they_stand() {
    let (_, mistakes) = parse(Arc::new("f".into()), b"a: 1\nb: \xe9t\xe9\n", Severity::Error);
    assert_eq!(mistakes[0].place, Place { line: 2, column: 4 });
    assert!(mistakes[0].message.contains("0xe9"));
    let (_, mistakes) = parse(Arc::new("f".into()), b"\xff\xfea\0", Severity::Error);
    assert!(mistakes[0].message.contains("UTF-16"));
}

#[test]
fn syntax_errors_speak_plainly() {
    assert!(bad("a: b: c\n").starts_with("1:5 `:` does not fit here"), "{}", bad("a: b: c\n"));
    assert!(bad("a: \"x\n").contains("inside quotes"), "{}", bad("a: \"x\n"));
    assert!(bad("a: [1, 2\n").contains("expected `,` or `]`"), "{}", bad("a: [1, 2\n"));
    assert!(bad("a: {x: 1\nb: 2\n").contains("close the `{`"), "{}", bad("a: {x: 1\nb: 2\n"));
    assert!(bad("a: @x\n").contains("put the text in quotes"), "{}", bad("a: @x\n"));
    assert!(bad("a:\n    b: 1\n  c: 2\n").contains("indentation"), "{}", bad("a:\n    b: 1\n  c: 2\n"));
    assert!(bad("a: | b\n").contains("nothing may follow `|`"), "{}", bad("a: | b\n"));
    assert!(bad("a: [# b\n]\n").contains("needs a space before it"), "{}", bad("a: [# b\n]\n"));
    assert!(bad("a: [\n").contains("a value is missing here"), "{}", bad("a: [\n"));
    assert!(bad("[a]: 1\n").contains("plain name as the key"));
    assert!(bad("a: !!int x\n").contains("the tag"));
    assert!(bad("a: !foo x\n").contains("`!foo`"), "{}", bad("a: !foo x\n"));
    assert_eq!(find(&good("a: !!str 12\n"), &["a"]).as_scalar().unwrap().value, Value::String);
}

#[test]
fn the_reader_collects_mistakes_and_goes_on() {
    let text = "port: many\nflag: yes\nlist: 3\nplna: 8\n";
    let tree = good(text);
    let mut d = Diagnostics::new(Arc::new("f".into()), text);
    let mut map = At::root(&tree).map(&mut d).unwrap();
    assert!(map.value("port").unwrap().int(&mut d, 1..=65535).is_none());
    assert!(map.value("flag").unwrap().bool(&mut d).is_none());
    assert!(map.value("list").unwrap().items(&mut d).is_none());
    assert!(map.value("plan").is_none());
    assert!(map.require(&mut d, "name").is_none());
    map.finish(&mut d, Severity::Warning);
    let told: Vec<_> = d.finish().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "f:1:1: error: `name` is missing",
            "f:1:7: error: port: expected a whole number from 1 to 65535, found text",
            "f:2:7: error: flag: expected true or false, found text; write `true`",
            "f:3:7: error: list: expected a list, found a whole number; begin each item with `- `",
            "f:4:1: warning: plna: unknown key `plna`; did you mean `plan`?",
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn no_text_makes_the_parser_panic(text in r#"([a-z]{1,2}|[:\-\[\]{}&*!|>'"%@`?,#~<\n\t ]|\r|: |\n  |- |---|\.\.\.|&a |\*a|é|\x00){0,60}"#) {
        let (tree, mistakes) = read(&text);
        prop_assert!(tree.is_some() || !mistakes.is_empty());
        for m in mistakes {
            prop_assert!(m.place.line as usize <= super::source::lines(&text).count());
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (tree, mistakes) = parse(Arc::new("f".into()), &bytes, Severity::Error);
        prop_assert!(tree.is_some() || !mistakes.is_empty());
    }
}
