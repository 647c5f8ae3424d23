package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// width is that of the page: what is longer is wrapped at spaces.
const width = 100

// style is an ANSI sequence; it is written to terminals only.
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "1;31"
	green  style = "1;32"
	yellow style = "1;33"
)

// page writes plain text for people, with colour where that is wanted.
type page struct {
	out    io.Writer
	colour bool
}

// styled returns s in a style. What is measured is measured before.
func (p *page) styled(s string, st style) string {
	if !p.colour || st == plain || s == "" {
		return s
	}
	return "\x1b[" + string(st) + "m" + s + "\x1b[0m"
}

func (p *page) line(s string) { fmt.Fprintln(p.out, strings.TrimRight(s, " ")) }

// heading begins a part of the page.
func (p *page) heading(title string, st style) {
	p.line("")
	p.line(p.styled(title, st) + " " + p.styled(strings.Repeat("-", max(0, width-1-utf8.RuneCountInString(title))), dim))
}

// say writes a paragraph.
func (p *page) say(text string) {
	for _, l := range wrap(strings.Join(strings.Fields(text), " "), "  ", "  ") {
		p.line(l)
	}
}

// command writes a line that a reader could type, or paste where it takes more than one.
func (p *page) command(line string) {
	p.line("")
	const more = ` \`
	lines := wrapTo(width-len(more), "$ "+line, "  ", "      ")
	for i, l := range lines {
		if i < len(lines)-1 {
			l += more
		}
		p.line(p.styled(l, bold))
	}
}

// answer writes what a program said, indented, its long lines wrapped.
func (p *page) answer(text string) {
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, "\n")
		st := plain
		switch {
		case strings.HasPrefix(l, "Warning:"):
			st = yellow
		case strings.HasPrefix(l, "Error"):
			st = red
		}
		for _, part := range wrap(l, "  ", "      ") {
			p.line(p.styled(part, st))
		}
	}
}

// entry writes a name and a value in two columns; long values are wrapped in theirs.
func (p *page) entry(name, value string, column int) {
	first := fmt.Sprintf("  %-*s", column, name)
	if utf8.RuneCountInString(name) >= column { // no room beside the name
		p.line("  " + name)
		first = strings.Repeat(" ", column+2)
	}
	for _, l := range wrap(value, first, strings.Repeat(" ", column+2)) {
		p.line(l)
	}
}

// wrap breaks a line so that it fits the page: at a space, else behind a comma (JSON), else where the page ends.
func wrap(line, first, rest string) []string { return wrapTo(width, line, first, rest) }

func wrapTo(columns int, line, first, rest string) []string {
	var out []string
	prefix := first
	for {
		room := columns - utf8.RuneCountInString(prefix)
		runes := []rune(line)
		if len(runes) <= room {
			return append(out, prefix+line)
		}
		cut := breakAt(runes, room)
		out = append(out, prefix+strings.TrimRight(string(runes[:cut]), " "))
		line, prefix = strings.TrimLeft(string(runes[cut:]), " "), rest
	}
}

func breakAt(line []rune, room int) int {
	for i := room; i > room/2; i-- {
		if line[i] == ' ' {
			return i
		}
	}
	for i := room; i > 1; i-- {
		if line[i-1] == ',' {
			return i
		}
	}
	return room
}
