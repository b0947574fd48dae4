//! nginx's configuration taken apart into directives and blocks, and no meaning given to any of them.

/// One directive: `NAME WORD...;` or `NAME WORD... { ... }`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directive {
    /// Its name first.
    pub words: Vec<String>,
    /// What is in its braces.
    pub block: Vec<Directive>,
}

impl Directive {
    /// Its name.
    pub fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Shows every directive to `each`, the outer ones first.
    pub fn each(all: &[Directive], each: &mut dyn FnMut(&Directive)) {
        for directive in all {
            each(directive);
            Directive::each(&directive.block, each);
        }
    }
}

/// Takes a text apart. What is not closed ends with the text.
pub fn parse(text: &str) -> Vec<Directive> {
    // The outermost block first; in each the directives that are complete.
    let mut open: Vec<(Vec<String>, Vec<Directive>)> = vec![(vec![], vec![])];
    let mut words: Vec<String> = vec![];
    for token in (Tokens { rest: text }) {
        match token {
            Token::Word(word) => words.push(word),
            Token::End => {
                let directive = Directive { words: std::mem::take(&mut words), block: vec![] };
                open.last_mut().into_iter().for_each(|(_, block)| block.push(directive.clone()));
            }
            Token::Open => open.push((std::mem::take(&mut words), vec![])),
            Token::Close => close(&mut open),
        }
    }
    while open.len() > 1 {
        close(&mut open);
    }
    open.pop().map(|(_, block)| block).unwrap_or_default()
}

fn close(open: &mut Vec<(Vec<String>, Vec<Directive>)>) {
    if open.len() > 1
        && let Some((words, block)) = open.pop()
        && let Some((_, outer)) = open.last_mut()
    {
        outer.push(Directive { words, block });
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    End,
    Open,
    Close,
}

struct Tokens<'t> {
    rest: &'t str,
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            self.rest = self.rest.trim_start();
            let first = self.rest.chars().next()?;
            if first == '#' {
                self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
                continue;
            }
            let single = match first {
                ';' => Some(Token::End),
                '{' => Some(Token::Open),
                '}' => Some(Token::Close),
                _ => None,
            };
            if let Some(token) = single {
                self.rest = &self.rest[1..];
                return Some(token);
            }
            return Some(Token::Word(self.word(first)));
        }
    }
}

impl Tokens<'_> {
    /// A word: in quotes, or up to a blank or a mark.
    fn word(&mut self, first: char) -> String {
        if matches!(first, '"' | '\'') {
            let inner = &self.rest[1..];
            let (word, rest) = inner.split_once(first).unwrap_or((inner, ""));
            self.rest = rest;
            return word.to_owned();
        }
        let end =
            self.rest.find(|c: char| c.is_whitespace() || matches!(c, ';' | '{' | '}')).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(all: &[Directive]) -> String {
        let one = |directive: &Directive| {
            let block =
                if directive.block.is_empty() { String::new() } else { format!(" {{{}}}", shown(&directive.block)) };
            format!("{}{block};", directive.words.join(" "))
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn blocks_quotes_and_comments_are_told_apart() {
        let text = "user  www;\n# no; one {\nhttp { server { listen 80; add_header X \"a; b\"; } }\nlast 'one';";
        assert_eq!(shown(&parse(text)), "user www;http {server {listen 80;add_header X a; b;};};last one;");
    }

    #[test]
    fn what_is_broken_ends_somewhere() {
        for text in ["", "}", "}}} a;", "server {", "a { b {", "\"open", "'", "#", "{{{{", ";;;"] {
            assert!(shown(&parse(text)).len() < 30, "{text}");
        }
        assert_eq!(shown(&parse("server { a b;")), "server {a b;};");
    }
}
