package main

import (
	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/mutators"
)

// remedies returns the page of remedies.
func remedies() string {
	var p page
	p.begin("Remedies", "mutators.All()")
	p.paragraph("How Holdfast puts a pod right in namespaces in `enforce` mode, in the order in which the remedies are tried. Each is kept only " +
		"where the pod is better for it, and none acts for a container that is not known, or [declared](configuration.md#annotations), to need the network " +
		"(hold acts for the app). The templates of workloads get hold alone.")
	p.paragraph("Which remedies changed a pod stands in its annotation `" + mutators.AppliedAnnotation + "`. In `warn` and `audit` mode they are tried on a copy, and " +
		"the record says what they would have done.")
	table := [][]string{{"name", "what it does", "never", "unless configured"}}
	defaults := config.Default()
	for _, r := range mutators.All() {
		on := "off"
		if defaults.Remedy(r.Name) {
			on = "on"
		}
		table = append(table, []string{r.Name, sentence(r.Title), sentence(r.Never), on})
	}
	p.table(table...)
	return p.text()
}
