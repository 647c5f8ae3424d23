package cases

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the parts want and patch.json of cases") //nolint:gochecknoglobals // a flag, read only

// Walk runs a test on every case below dir, as sub-tests named FOLDER/FILE. A file below dir that is no case fails.
func Walk(t *testing.T, dir string, test func(t *testing.T, c *Case)) {
	t.Helper()
	if *update && os.Getenv("CI") == "true" {
		t.Fatal("-update does not rewrite what CI is to hold against")
	}
	for _, folder := range Folders(t, dir) {
		for _, file := range Files(t, dir, folder) {
			name, ok := strings.CutSuffix(file, ".txtar")
			t.Run(folder+"/"+name, func(t *testing.T) {
				t.Parallel()
				if !ok {
					t.Fatalf("%s is no case: want a .txtar file", file)
				}
				c, err := Read(filepath.Join(dir, folder, file))
				if err != nil {
					t.Fatal(err)
				}
				test(t, c)
			})
		}
	}
}

// Folders returns the names of the folders of cases below dir. The fuzz corpus is none.
func Folders(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != "fuzz" {
			out = append(out, e.Name())
		}
	}
	return out
}

// Files returns the names of the files in a folder of cases. YAML beside them is what several of them share (WebhookFile).
func Files(t testing.TB, dir, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, folder))
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, 0, len(entries))
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".yaml") {
			out = append(out, e.Name())
		}
	}
	return out
}

// Folder is the name of the folder that the case lies in.
func (c *Case) Folder() string { return filepath.Base(filepath.Dir(c.File)) }

// Name is the name of the case's file without the extension.
func (c *Case) Name() string { return strings.TrimSuffix(filepath.Base(c.File), ".txtar") }

// Check holds a part (WantPart or PatchPart) against what the test got, or rewrites it where the test runs with -update.
// A part that would be empty is not there.
func (c *Case) Check(t *testing.T, part string, got []byte) {
	t.Helper()
	if part != WantPart && part != PatchPart {
		t.Fatalf("part %s is given, not wanted", part)
	}
	if len(got) > 0 && got[len(got)-1] != '\n' {
		got = append(bytes.Clone(got), '\n')
	}
	if *update {
		c.rewrite(t, part, got)
		return
	}
	if diff := cmp.Diff(string(c.Part(part)), string(got)); diff != "" {
		t.Errorf("%s: %s (-want +got):\n%s", c.File, part, diff)
	}
}

func (c *Case) rewrite(t *testing.T, part string, got []byte) {
	t.Helper()
	if bytes.Equal(c.Part(part), got) {
		return
	}
	files := c.archive.Files[:0:0]
	for _, f := range c.archive.Files {
		if f.Name != part {
			files = append(files, f)
		}
	}
	if len(got) > 0 {
		files = append(files, txtar.File{Name: part, Data: got})
	}
	c.archive.Files = files
	if err := os.WriteFile(c.File, txtar.Format(c.archive), 0o600); err != nil {
		t.Fatal(err)
	}
}
