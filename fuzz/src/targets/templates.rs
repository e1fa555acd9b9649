//! Any text as a template: in an environment variable, an image, a target. What comes out holds only what
//! the file names, and what is secret stays marked so.

use super::landscape::{SECRET, read};

/// See the module's words.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // As JSON strings, which are YAML too, so that the text arrives as it is.
    let quoted = quote(text);
    let file = format!(
        "schemaVersion: v0.4\nrun:\n  web:\n    steps: [{{ command: x }}]\n    env: {{ TEXT: {quoted} }}\n  \
         forward:\n    network: {{ paths: [{{ path: /, target: {quoted} }}] }}\n"
    );
    read(file.as_bytes());
    let file = format!("schemaVersion: v0.4\nrun:\n  web:\n    image: {quoted}\n    env: {{ TEXT: {quoted} }}\n");
    read(file.as_bytes());
    let file =
        format!("schemaVersion: v0.4\nrun:\n  web:\n    steps: [{{ command: x }}]\n    env: {{ TEXT: {quoted} }}\n");
    let Some(spec) = read(file.as_bytes()) else { return };
    let value = &spec.services["web"].env["TEXT"];
    assert!(value.secret || !value.text.contains(SECRET), "a secret that is not marked as one");
    if !text.contains("${{") {
        assert_eq!(&*value.text, text, "a text without templates was changed");
    }
}

fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => quoted += &format!("\\U{:08x}", c as u32),
        }
    }
    quoted + "\""
}
