package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOn(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{"": false, "0": false, "no": false, "false": false, "1": true, "yes": true} {
		if got := on(value); got != want {
			t.Errorf("%q: got %v, want %v", value, got, want)
		}
	}
}

func TestFileHasNoColours(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "page"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if colours(f) {
		t.Error("a file is taken for a terminal")
	}
}
