//! Elements of an SVG document. Everything that is text passes through [`escaped`].

/// What a file written by `netpath bench` begins with, for SVG.
pub const MARK: &str = "<!-- netpath bench -->";

/// Colours of Okabe and Ito, told apart with any kind of colour vision
/// (<https://jfly.uni-koeln.de/color/>); `Ink` is black on white and white on black.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// The text's own.
    Ink,
    /// #0072B2.
    Blue,
    /// #56B4E9.
    Sky,
    /// #009E73.
    Green,
    /// #E69F00.
    Orange,
    /// #D55E00.
    Vermilion,
    /// #CC79A7.
    Purple,
}

impl Colour {
    /// Name of its CSS class.
    pub fn class(self) -> &'static str {
        match self {
            Self::Ink => "ink",
            Self::Blue => "blue",
            Self::Sky => "sky",
            Self::Green => "green",
            Self::Orange => "orange",
            Self::Vermilion => "vermilion",
            Self::Purple => "purple",
        }
    }
}

/// Light by default and in print, dark where the reader's screen is.
const STYLE: &str = "\
.plot{font:12px system-ui,'DejaVu Sans',sans-serif}\
.plot text{fill:#1b1b1b}\
.plot .ground{fill:#fff}\
.plot .heading{font-size:15px;font-weight:600}\
.plot .small{font-size:10px}\
.plot .grid{stroke:#e3e3e3}\
.plot .axis{stroke:#777}\
.plot .whisker{stroke:#1b1b1b;fill:none}\
.plot .break{stroke:#fff;stroke-width:3}\
.plot .line{fill:none;stroke-width:2;stroke-linejoin:round}\
.plot .band{opacity:.18}\
.plot .line.ink{stroke:#1b1b1b}.plot .area.ink{fill:#1b1b1b}\
.plot .line.blue{stroke:#0072b2}.plot .area.blue{fill:#0072b2}\
.plot .line.sky{stroke:#56b4e9}.plot .area.sky{fill:#56b4e9}\
.plot .line.green{stroke:#009e73}.plot .area.green{fill:#009e73}\
.plot .line.orange{stroke:#e69f00}.plot .area.orange{fill:#e69f00}\
.plot .line.vermilion{stroke:#d55e00}.plot .area.vermilion{fill:#d55e00}\
.plot .line.purple{stroke:#cc79a7}.plot .area.purple{fill:#cc79a7}\
@media screen and (prefers-color-scheme:dark){\
.plot text{fill:#e8e8e8}\
.plot .ground{fill:#16181c}\
.plot .grid{stroke:#33363c}\
.plot .axis{stroke:#999}\
.plot .whisker{stroke:#e8e8e8}\
.plot .break{stroke:#16181c}\
.plot .line.ink{stroke:#e8e8e8}.plot .area.ink{fill:#e8e8e8}\
}";

/// Where a text is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Its left end.
    Start,
    /// Its centre.
    Middle,
    /// Its right end.
    End,
}

/// A document that grows element by element. Lengths are in pixels, from the upper left corner.
#[derive(Debug)]
pub struct Svg {
    body: String,
    title: String,
    width: f64,
}

impl Svg {
    /// An empty document so wide, with a title that screen readers say.
    pub fn new(title: &str, width: f64) -> Self {
        let mut svg = Self {
            body: String::new(),
            title: escaped(title),
            width,
        };
        svg.text("heading", Anchor::Start, (MARGIN, 24.0), title);
        svg
    }

    /// A straight line of a class.
    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        self.element(&format!(
            "<line class=\"{class}\" x1=\"{:.2}\" y1=\"{:.2}\" x2=\"{:.2}\" y2=\"{:.2}\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    /// A rectangle of a class, with the text that appears when pointed at.
    pub fn rect(&mut self, class: &str, at: (f64, f64), size: (f64, f64), title: &str) {
        self.element(&format!(
            "<rect class=\"{class}\" x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{:.2}\">\
             <title>{}</title></rect>",
            at.0,
            at.1,
            size.0,
            size.1,
            escaped(title)
        ));
    }

    /// A dot of a class, with the text that appears when pointed at.
    pub fn dot(&mut self, class: &str, at: (f64, f64), title: &str) {
        self.element(&format!(
            "<circle class=\"{class}\" cx=\"{:.2}\" cy=\"{:.2}\" r=\"3.5\"><title>{}</title></circle>",
            at.0,
            at.1,
            escaped(title)
        ));
    }

    /// A line through points, with a dash pattern (empty: solid).
    pub fn polyline(&mut self, class: &str, dash: &str, points: &[(f64, f64)], title: &str) {
        let points: Vec<_> = points
            .iter()
            .map(|(x, y)| format!("{x:.2},{y:.2}"))
            .collect();
        self.element(&format!(
            "<polyline class=\"{class}\" stroke-dasharray=\"{}\" points=\"{}\"><title>{}</title></polyline>",
            if dash.is_empty() { "none" } else { dash },
            points.join(" "),
            escaped(title)
        ));
    }

    /// A text of a class.
    pub fn text(&mut self, class: &str, anchor: Anchor, at: (f64, f64), text: &str) {
        self.element(&text_element(class, anchor, at, "", text));
    }

    /// A text that reads upwards.
    pub fn text_upwards(&mut self, at: (f64, f64), text: &str) {
        let turn = format!(" transform=\"rotate(-90 {:.2} {:.2})\"", at.0, at.1);
        self.element(&text_element("", Anchor::Middle, at, &turn, text));
    }

    /// The whole document, so high.
    pub fn finish(self, height: f64) -> String {
        let Self { body, title, width } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" role=\"img\" \
             aria-label=\"{title}\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\">{MARK}\n<title>{title}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n{body}</svg>\n"
        )
    }

    fn element(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }
}

/// Space around a plot in pixels.
pub const MARGIN: f64 = 16.0;

/// `text` for the content or a quoted attribute of XML and HTML. What XML 1.0 cannot hold at all is replaced.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\t' | '\n' => safe.push(character),
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            _ if character.is_control() => safe.push('\u{fffd}'),
            _ => safe.push(character),
        }
    }
    safe
}

/// About how wide `text` is at 12 pixels: no fonts are measured, so this is on the generous side.
pub fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * 7.0
}

fn text_element(class: &str, anchor: Anchor, at: (f64, f64), more: &str, text: &str) -> String {
    let anchor = match anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    format!(
        "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{:.2}\" y=\"{:.2}\"{more}>{}</text>",
        at.0,
        at.1,
        escaped(text)
    )
}
