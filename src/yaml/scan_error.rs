//! The parser's own errors in words that help who wrote the file.

use super::{Diagnostics, Place};

/// Tells a syntax error.
pub(super) fn tell(diagnostics: &mut Diagnostics, place: Place, info: &str) {
    let place = diagnostics.source().within(place);
    if let Some(tab) = tab_indentation(diagnostics, place, info) {
        diagnostics.error(tab, "", "a tab is used as indentation, expected spaces").help("replace tabs by spaces");
        return;
    }
    let (message, remedy) = explain(info);
    let mistake = diagnostics.error(place, "", message);
    if let Some(remedy) = remedy {
        mistake.help(remedy);
    }
}

/// The tab in the white space that begins this line, or the line before where the parser noticed late,
/// or the next one where it names the beginning of a text that the tab seems to continue.
fn tab_indentation(diagnostics: &Diagnostics, place: Place, info: &str) -> Option<Place> {
    let next = info.contains("tab").then(|| place.line.saturating_add(1));
    [place.line, place.line.saturating_sub(1)].into_iter().chain(next).find_map(|number| {
        let line = diagnostics.source().line(number)?;
        let margin = line.chars().take_while(|c| c.is_whitespace()).position(|c| c == '\t')?;
        let column = u32::try_from(margin).ok()?.saturating_add(1);
        (!line.trim().is_empty()).then_some(Place { line: number, column })
    })
}

fn explain(info: &str) -> (String, Option<&'static str>) {
    let known = [
        (
            "mapping values are not allowed",
            "`:` does not fit here",
            "put a text that holds `: ` in quotes, or check the indentation of this line and the one above",
        ),
        ("simple key expect", "expected `key: value`", "add the `:` and a value, or check the indentation"),
        (
            "block mapping, did not find expected key",
            "the indentation does not fit the lines above, expected a key",
            "indent it as its neighbours",
        ),
        (
            "block collection, did not find expected '-'",
            "the indentation does not fit the list above, expected `- `",
            "indent it as its neighbours",
        ),
        ("invalid indentation", "the indentation does not fit the lines above", "indent it as its neighbours"),
        ("quoted scalar, found unexpected end", "the file ends inside quotes", "close the quotes"),
        ("quoted scalar, found unexpected document", "a document ends inside quotes", "close the quotes"),
        ("found unknown escape", "unknown escape after `\\`", "write `\\\\` or use single quotes"),
        ("did not find expected ',' or '}'", "expected `,` or `}`", "close the `{`, or put the text in quotes"),
        ("expected ',' or ']'", "expected `,` or `]`", "close the `[`, or put the text in quotes"),
        ("misplaced bracket", "this bracket closes nothing", "remove it, or put the text in quotes"),
        ("found unknown anchor", "an alias to a name that no `&` anchor gives", "define the anchor above it"),
        ("anchor or alias, did not find", "expected a name after `&` or `*`", "put a text that begins so in quotes"),
        ("trailing content after double-quoted", "text follows closed quotes", "put all of it in the quotes"),
        ("unexpected character", "no text may begin with this character", "put the text in quotes"),
        ("found unprintable character", "a control character", "remove it"),
        (
            "must be followed by a valid YAML whitespace",
            "a tab stands before this, expected a space",
            "replace it by a space",
        ),
        (
            "block scalar, did not find expected comment",
            "nothing may follow `|` or `>` on its line",
            "begin the text on the next line, or put it in quotes",
        ),
        ("comments must be separated", "a `#` needs a space before it", "add the space, or put the text in quotes"),
        ("expected <document start>", "the value above ended, and this does not belong to it", "check the indentation"),
        ("expected node content", "a value is missing here", "complete it, or put the text in quotes"),
        ("recursion limit", "brackets nest too deep", "flatten the file"),
        ("tab", "a tab does not fit here", "replace tabs by spaces"),
        (
            "block sequence entries are not allowed",
            "a list item does not fit here",
            "begin the list on a line of its own",
        ),
        ("is only valid inside a block", "a list item does not fit inside brackets", "write `[a, b]`, or a block list"),
        ("unexpected eof", "the file ends too early", "complete it"),
    ];
    match known.iter().find(|(part, _, _)| info.contains(part)) {
        Some((_, message, remedy)) => ((*message).to_owned(), Some(remedy)),
        None => (format!("not valid YAML: {info}"), None),
    }
}
