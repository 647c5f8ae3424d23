// Command generate writes the parts of the documentation that follow from the code: the rules, the remedies, the probes, the
// catalogue of injectors and the matrix of pairs. Nothing about them is written twice. Run it from the root of the repository (make generate).
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if err := generate("."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// generate writes the generated pages of the repository at root.
func generate(root string) error {
	rules, err := rules(os.DirFS(root))
	if err != nil {
		return err
	}
	remedies, err := remedies(os.DirFS(root))
	if err != nil {
		return err
	}
	pairs, err := pairs(os.DirFS(root))
	if err != nil {
		return err
	}
	for _, p := range []struct{ name, text string }{
		{"rules.md", rules},
		{"remedies.md", remedies},
		{"probes.md", probes()},
		{"injectors.md", catalogue()},
		{"matrix.md", pairs},
	} {
		if err := os.WriteFile(filepath.Join(root, "docs", p.name), []byte(p.text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// page is a Markdown page in the making.
type page struct{ strings.Builder }

// begin writes the head of a page that is generated from source.
func (p *page) begin(title, source string) {
	p.paragraph("<!-- Generated from " + source + " by docs/generate. To change it, change the code and run: make generate -->")
	p.paragraph("# " + title)
}

func (p *page) paragraph(text string) { p.WriteString(strings.TrimSpace(text) + "\n\n") }

func (p *page) heading(text string) { p.paragraph("## " + text) }

// table writes a table; the first row is its head.
func (p *page) table(rows ...[]string) {
	for i, row := range rows {
		for k := range row {
			row[k] = strings.ReplaceAll(row[k], "|", `\|`)
		}
		p.WriteString("| " + strings.Join(row, " | ") + " |\n")
		if i == 0 {
			p.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	p.WriteString("\n")
}

// block writes a block of code.
func (p *page) block(language, text string) {
	p.paragraph("```" + language + "\n" + strings.TrimRight(text, "\n") + "\n```")
}

// text returns the page, which ends with one newline.
func (p *page) text() string { return strings.TrimRight(p.String(), "\n") + "\n" }

func code(s string) string { return "`" + s + "`" }

// sentence ends with a full stop.
func sentence(s string) string { return strings.TrimRight(strings.TrimSpace(s), ".") + "." }
