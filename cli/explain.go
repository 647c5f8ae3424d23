package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"holdfast.dev/holdfast/diagnose"
	"holdfast.dev/holdfast/diagnose/knowledge"
	"holdfast.dev/holdfast/report"
	"holdfast.dev/holdfast/validators"
)

// chapter is topics of one kind, and how one of them is silenced.
type chapter struct {
	topics  []report.Topic
	silence func(t *report.Topic) string
}

// chapters has all that explain has pages for.
func chapters() []chapter {
	return []chapter{{validators.Topics(), validators.Silence}, {diagnose.Topics(), silenceProbe}}
}

func silenceProbe(*report.Topic) string {
	return "Probes change nothing and refuse nothing. serve --startup-diagnosis=off keeps all of them out of the server's log."
}

// explained is what explain prints, of which one part is there.
type explained struct {
	Page         *knowledge.Page         `json:"page,omitempty"`
	Explanations []knowledge.Explanation `json:"explanations,omitempty"`
}

func newExplain() *cobra.Command {
	output, list := "text", false
	c := &cobra.Command{
		Use:   "explain CODE | NAME | TEXT | -",
		Short: "Prints a code's page, or what an error text means",
		Long: `Prints the page of a rule or probe, by code or name: what is wrong, why, how to put it right, how not to hear of it, and an
example. Any other text is taken for an error message of Kubernetes, a mesh or a cloud: what Holdfast recognises in it is explained
with cause, remedy and the next command, the ports and names of the text filled in. With - it is read from stdin, one line or
many. Ends with 2 when nothing was recognised.`,
		Example: `  holdfast explain HF101
  holdfast explain late-dialer
  holdfast explain 'failed calling webhook "rev.namespace.sidecar-injector.istio.io": ... context deadline exceeded'
  kubectl get events -A | holdfast explain -
  kubectl -n shop logs web-6d4cf-x2x9p -c istio-proxy | holdfast explain - -o json
  holdfast explain --list   # what Holdfast can explain`,
		RunE: func(c *cobra.Command, args []string) error {
			if !slices.Contains([]string{"text", "json", "yaml"}, output) {
				return usage(c, fmt.Errorf("output %q: must be text, json or yaml", output))
			}
			base, err := knowledge.Builtin()
			if err != nil {
				return err
			}
			if list {
				return printList(c.OutOrStdout(), base)
			}
			if len(args) == 0 {
				return usage(c, errors.New("nothing to explain: give a code, a text, or - for stdin"))
			}
			found, err := explain(c, base, args)
			if err != nil {
				return err
			}
			return found.print(c.OutOrStdout(), output)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", output, "how to print: text, json or yaml")
	c.Flags().BoolVar(&list, "list", false, "print the codes and the kinds of texts that are known")
	return c
}

// explain finds what the arguments ask for.
func explain(c *cobra.Command, base *knowledge.Base, args []string) (*explained, error) {
	text := strings.Join(args, " ") // who forgets the quotes means the same
	if text == "-" {
		data, err := io.ReadAll(io.LimitReader(c.InOrStdin(), knowledge.MaxText+1))
		if err != nil {
			return nil, fmt.Errorf("read stdin: %w", err)
		}
		if len(data) > knowledge.MaxText {
			fmt.Fprintf(c.ErrOrStderr(), "holdfast: read the first %d KiB only\n", knowledge.MaxText>>10)
		}
		text = string(data)
	}
	text = strings.TrimSpace(text)
	var topics []report.Topic
	for _, ch := range chapters() {
		if t, ok := knowledge.Find(ch.topics, text); ok {
			return &explained{Page: knowledge.NewPage(t, ch.silence(t))}, nil
		}
		topics = append(topics, ch.topics...)
	}
	found := base.Explain(text, topics)
	if about, ok := base.About(text); ok {
		found = []knowledge.Explanation{about}
	}
	if len(found) == 0 {
		return nil, unknown(text, topics)
	}
	for i := range found {
		// Other entries may speak of rules that this release does not have.
		found[i].Codes = slices.DeleteFunc(found[i].Codes, func(code string) bool {
			_, ok := knowledge.Find(topics, code)
			return !ok
		})
	}
	return &explained{Explanations: found}, nil
}

// unknown says that nothing was recognised, and what is when the text is near it.
func unknown(text string, topics []report.Topic) error {
	if strings.HasPrefix(strings.ToUpper(text), "HF") && len(text) <= len("HF1010") {
		codes := make([]string, 0, len(topics))
		for i := range topics {
			codes = append(codes, topics[i].Code)
		}
		return fmt.Errorf("code %q: unknown; there are %s", text, strings.Join(codes, ", "))
	}
	if text == "" {
		return errors.New("nothing to explain: the text is empty")
	}
	return errors.New("nothing in this text is known to Holdfast; a longer part of the message helps (holdfast explain --list has what is known)")
}

func (e *explained) print(w io.Writer, output string) error {
	switch output {
	case "json":
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(e)
	case "yaml":
		data, err := yaml.Marshal(e)
		if err != nil {
			return fmt.Errorf("print the explanation: %w", err)
		}
		_, err = w.Write(data)
		return err
	}
	if e.Page != nil {
		_, err := io.WriteString(w, e.Page.String())
		return err
	}
	for i := range e.Explanations {
		text := e.Explanations[i].String()
		if i > 0 {
			text = "\n" + text
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	return nil
}

// printList prints the codes and entries that explain knows, one a line.
func printList(w io.Writer, base *knowledge.Base) error {
	var b strings.Builder
	for _, ch := range chapters() {
		for i := range ch.topics {
			fmt.Fprintf(&b, "%-28s %s\n", ch.topics[i].Code+" "+ch.topics[i].Name, ch.topics[i].Title)
		}
	}
	for _, e := range base.Entries() {
		about, _ := base.About(e.Name)
		fmt.Fprintf(&b, "%-28s %s\n", e.Name, about.Title)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
