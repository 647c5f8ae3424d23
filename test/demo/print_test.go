package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestPageStaysWithinItsWidth(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("some words and ", 20) + strings.Repeat("x", 2*width) + " end"
	var out bytes.Buffer
	p := page{out: &out}
	p.heading(strings.Repeat("title ", 10), red)
	p.say(long)
	p.command("kubectl " + long)
	p.answer("Warning: " + long + "\npod/web created\n")
	p.entry("key", long, 10)
	p.entry(strings.Repeat("k", 30), long, 10)
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > width {
			t.Errorf("%d columns, want %d at most: %s", n, width, line)
		}
	}
	if words := strings.Fields(out.String()); words[len(words)-1] != "end" {
		t.Errorf("the last word is %q, want the last word of the text", words[len(words)-1])
	}
}

func TestPageColoursWhereAsked(t *testing.T) {
	t.Parallel()
	for colour, want := range map[bool]string{
		true:  "\x1b[1;33m  Warning: look\x1b[0m\n  pod/web created\n",
		false: "  Warning: look\n  pod/web created\n",
	} {
		var out bytes.Buffer
		p := page{out: &out, colour: colour}
		p.answer("Warning: look\npod/web created")
		if diff := cmp.Diff(out.String(), want); diff != "" {
			t.Errorf("colour %v (-got +want):\n%s", colour, diff)
		}
	}
}

func TestWrapKeepsEveryCharacter(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"", "short", strings.Repeat("ab cd ", 40) + "end", strings.Repeat("ä", 3*width)} {
		joined := strings.Join(wrap(line, "", ""), "")
		if got, want := strings.ReplaceAll(joined, " ", ""), strings.ReplaceAll(line, " ", ""); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
