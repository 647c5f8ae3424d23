package main

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/test/matrix"
)

// pairs returns the page of pairs: every mode of every mesh with every agent that dials while the pod starts.
func pairs(root fs.FS) (string, error) {
	testdata, err := fs.Sub(root, path.Join("injectors", "testdata"))
	if err != nil {
		return "", err
	}
	modes, agents, err := matrix.Read(testdata)
	if err != nil {
		return "", err
	}
	var p page
	p.begin("Does my combination work?", "test/matrix")
	p.paragraph("Every mode of every mesh with every agent that needs the network while the pod starts: does the pod start, and what does Holdfast do about it in " +
		"`enforce` mode? The agent's address is a Service of the cluster, outside of the mesh, and everything else is as installed.")
	p.table(
		[]string{"in a cell", "without Holdfast", "with Holdfast"},
		[]string{"works", "the pod starts", "left alone"},
		[]string{"moved", "**stuck in `Init`**", "starts: the container moves before the redirect, or behind the proxy (reorder)"},
		[]string{"exempt", "**stuck in `Init`**", "starts: its address leaves the redirect (exempt-address)"},
		[]string{"first", "**stuck in `Init`**", "starts: its injector's own switch puts it first (start-first)"},
		[]string{"**refused**", "**stuck in `Init`**", "refused, with the line to paste that is given below the table"},
		[]string{"unknown", "not known", "judged when the injectors have made the pod"},
	)
	p.paragraph("Where the order of the two webhooks matters a cell has two words: first where the mesh's webhook is called before the agent's (with the usual " +
		"names most are), then where the agent's is called first. The API server calls webhook configurations in the order of their names.")
	p.paragraph("Each pair is held, by tests, against a statement of the walk that shares nothing with Holdfast's code, against the pod that its injectors make, and " +
		"against the kernel: iptables rules as the mesh writes them, and a connection that is tried (`go test ./test/matrix`).")
	for _, i := range injectors.Builtin() {
		if err := meshTable(&p, i, modes, agents); err != nil {
			return "", err
		}
	}
	return p.text(), nil
}

func meshTable(p *page, i *injectors.Injector, modes []matrix.Mode, agents []matrix.Agent) error {
	var own []*matrix.Mode
	head := []string{"agent"}
	for k := range modes {
		if modes[k].Injector == i.Name {
			own = append(own, &modes[k])
			head = append(head, modes[k].Name)
		}
	}
	if len(own) == 0 {
		return nil
	}
	p.heading(i.Title)
	table := [][]string{head}
	var advice []string
	for k := range agents {
		row := []string{titleOf(agents[k].Injector) + ", " + agents[k].Name}
		for _, m := range own {
			a, err := matrix.Pair{Mode: m, Agent: &agents[k]}.Judge()
			if err != nil {
				return err
			}
			b, err := matrix.Pair{Mode: m, Agent: &agents[k], AgentFirst: true}.Judge()
			if err != nil {
				return err
			}
			text := cell(a)
			if other := cell(b); other != text {
				text += " / " + other
			}
			row = append(row, text)
			for _, c := range []matrix.Cell{a, b} {
				if c.Advice != "" {
					advice = append(advice, "- "+titleOf(agents[k].Injector)+", "+m.Name+": "+code(c.Advice))
				}
			}
		}
		table = append(table, row)
	}
	p.table(table...)
	if len(advice) > 0 {
		slices.Sort(advice)
		p.paragraph("What the refusals say:")
		p.paragraph(strings.Join(slices.Compact(advice), "\n"))
	}
	return nil
}

func cell(c matrix.Cell) string {
	switch {
	case c.Without == matrix.Works:
		return "works"
	case c.Without == matrix.Unsure, c.With == matrix.Unsure:
		return "unknown"
	case c.With == matrix.Stuck:
		return "**refused**"
	}
	words := map[string]string{"reorder": "moved", "exempt-address": "exempt", "start-first": "first"}
	var out []string
	for _, r := range c.Remedies {
		if w, ok := words[r]; ok {
			out = append(out, w)
		} else {
			out = append(out, r)
		}
	}
	return strings.Join(out, ", ")
}

func titleOf(name string) string {
	for _, i := range injectors.Builtin() {
		if i.Name == name {
			return i.Title
		}
	}
	return name
}
