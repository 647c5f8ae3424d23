package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

// example writes the first case (one called example, where there is one) in a folder whose name begins with one of the outcomes, the first outcome first, as long as
// there is one. root is the repository, answer what the case's want is called.
func example(p *page, root fs.FS, folder, answer string, outcomes ...string) error {
	file, err := first(root, folder, outcomes)
	if err != nil || file == "" {
		return err
	}
	data, err := fs.ReadFile(root, file)
	if err != nil {
		return fmt.Errorf("read an example: %w", err)
	}
	archive := txtar.Parse(data)
	p.paragraph("*Example* ([" + path.Base(file) + "](../" + file + ")). " + strings.TrimSpace(string(archive.Comment)))
	for _, f := range archive.Files {
		switch f.Name {
		case "want":
			p.paragraph(answer)
			p.block("text", string(f.Data))
		case "patch.json":
			p.block("json", string(f.Data))
		case "webhooks.yaml", "cluster.yaml": // the stage, not the play
		default:
			p.block("yaml", "# "+f.Name+"\n"+string(f.Data))
		}
	}
	return nil
}

// first returns the path of that case, "" where there is none.
func first(root fs.FS, folder string, outcomes []string) (string, error) {
	entries, err := fs.ReadDir(root, folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("find an example: %w", err)
	}
	for _, outcome := range outcomes {
		for _, e := range entries { // sorted
			if strings.HasPrefix(e.Name(), outcome+"-") && path.Ext(e.Name()) == ".txtar" {
				return path.Join(folder, e.Name()), nil
			}
		}
	}
	return "", nil
}
