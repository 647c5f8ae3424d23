package main

import (
	"os"
	"strings"
	"testing"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/validators"
)

// TestDocumentedConfigurationLoads: the file in docs/configuration.md is written by hand, and is a configuration.
func TestDocumentedConfigurationLoads(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, file, _ := strings.Cut(string(page), "```yaml\n")
	file, _, found := strings.Cut(file, "```")
	if !found {
		t.Fatal("got no block of YAML in docs/configuration.md, want the file")
	}
	c, err := config.Load([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckRules(validators.Topics()); err != nil {
		t.Error(err)
	}
}
