package main

import (
	"io/fs"
	"path"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/mutators"
)

// remedies returns the page of remedies, with cases of the repository at root as examples.
func remedies(root fs.FS) (string, error) {
	var p page
	p.begin("Remedies", "mutators.All()")
	p.paragraph("How Holdfast puts a pod right in namespaces in `enforce` mode, in the order in which the remedies are tried. Each is kept only " +
		"where the pod is better for it, and none acts for a container that is not known, or [declared](configuration.md#annotations), to need the network " +
		"(hold acts for the app, the last two do what the configuration asks for). The templates of workloads get hold alone.")
	p.paragraph("Which remedies changed a pod stands in its annotation `" + mutators.AppliedAnnotation + "`. In `warn` and `audit` mode they are tried on a copy, and " +
		"the record says what they would have done.")
	table := [][]string{{"name", "what it does", "unless configured"}}
	defaults := config.Default()
	all := mutators.All()
	for i := range all {
		on := "off"
		if defaults.Remedy(all[i].Name) {
			on = "on"
		}
		table = append(table, []string{"[" + all[i].Name + "](#" + all[i].Name + ")", sentence(all[i].Title), on})
	}
	p.table(table...)
	for i := range all {
		if err := remedy(&p, &all[i], root); err != nil {
			return "", err
		}
	}
	return p.text(), nil
}

func remedy(p *page, r *mutators.Remedy, root fs.FS) error {
	p.heading(r.Name)
	p.paragraph(sentence(r.Title))
	p.paragraph("*Never* " + sentence(r.Never))
	return example(p, root, path.Join("mutators", "testdata", r.Name), "Holdfast does:", "cures", "acts")
}
