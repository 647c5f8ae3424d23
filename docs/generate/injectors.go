package main

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/injectors"
)

// catalogue returns the page of injectors.
func catalogue() string {
	var p page
	p.begin("Injectors", "injectors.Builtin()")
	p.paragraph("What Holdfast knows about each sidecar injector: facts, read from the release that is named, and no opinions. Rules and " +
		"remedies read these facts and never ask which injector it is.")
	p.table(
		[]string{"role", "what the container does"},
		[]string{injectors.Installer.String(), "redirects the pod's traffic, in effect once it has ended"},
		[]string{injectors.Validator.String(), "stands where a node plugin has redirected the traffic before any container"},
		[]string{injectors.Proxy.String(), "serves the redirected traffic"},
		[]string{injectors.Dialer.String(), "needs the network when it starts"},
		[]string{injectors.Helper.String(), "is injected, and needs no network to start"},
	)
	for _, i := range injectors.Builtin() {
		injector(&p, i)
	}
	return p.text()
}

func injector(p *page, i *injectors.Injector) {
	p.heading(i.Title)
	p.paragraph("Known as `" + i.Name + "`. Facts from " + i.Facts + ".")

	names := slices.SortedFunc(maps.Keys(i.Containers), func(a, b string) int {
		return cmp.Or(cmp.Compare(i.Containers[a], i.Containers[b]), cmp.Compare(a, b))
	})
	table := [][]string{{"container", "role"}}
	for _, name := range names {
		table = append(table, []string{code(name), i.Containers[name].String()})
	}
	for _, name := range slices.Sorted(maps.Keys(i.Common)) {
		table = append(table, []string{code(name), i.Common[name].String() + ", beside its mark alone: others give this name too"})
	}
	if len(table) > 1 {
		p.table(table...)
	}
	p.paragraph(settings(&i.Reads))

	table = [][]string{{"annotation", "what Holdfast makes of it"}}
	for k := range i.Annotations {
		a := &i.Annotations[k]
		if uses := uses(i, a); len(uses) > 0 {
			table = append(table, []string{code(a.Key), strings.Join(uses, "; ")})
		}
	}
	if len(table) > 1 {
		p.table(table...)
	}
	if others := len(i.Annotations) + 1 - len(table); others > 0 {
		p.paragraph("Another " + strconv.Itoa(others) + " annotations are known by their keys, so that HF112 finds them where nothing reads them and HF113 those that are misspelled.")
	}
}

// settings says where the injector's settings are read, which is what somebody has to grant the right to.
func settings(r *injectors.Reads) string {
	var out []string
	if len(r.ConfigMaps) > 0 {
		out = append(out, "ConfigMaps whose names begin with "+codes(r.ConfigMaps)+", in the `meshNamespaces` of the [configuration](configuration.md)")
	}
	if len(r.Deployments) > 0 {
		of := "environment"
		if len(r.Flags) > 0 {
			of = "environment and flags"
		}
		out = append(out, "Deployments labelled "+codes(r.Deployments)+" ("+of+")")
	}
	if len(out) == 0 {
		return "Its settings are not read."
	}
	return "Settings are read from " + strings.Join(out, ", and from ") + "."
}

func codes(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = code(w)
	}
	return strings.Join(out, ", ")
}

// uses says what becomes of an annotation's value; empty where it is known by its key alone.
func uses(i *injectors.Injector, a *injectors.Annotation) []string {
	var uses []string
	if i.Hold != nil && i.Hold.Key == a.Key {
		uses = append(uses, "can hold the app until the proxy serves")
	}
	if i.First != nil && i.First(injectors.PodTarget(&corev1.Pod{}, nil)) == a.Key {
		uses = append(uses, "puts its dialer before every other init container")
	}
	if m := meaning(a.Means); m != "" {
		uses = append(uses, m)
	}
	switch {
	case a.Check == nil:
	case a.Denied:
		uses = append(uses, "checked: the injector denies the pod over a wrong value")
	case a.Breaks != nil:
		uses = append(uses, "checked: the pod never starts with a value that certainly breaks the redirect")
	default:
		uses = append(uses, "checked: a wrong value is ignored, or fails when the pod starts")
	}
	return uses
}

// meaning says what a list is of; "" for none.
func meaning(m injectors.Meaning) string {
	return [...]string{
		injectors.Opaque:         "",
		injectors.ExcludeCIDRs:   "addresses left out of the redirect",
		injectors.ExcludePorts:   "ports left out of the redirect",
		injectors.IncludeCIDRs:   "addresses that the redirect is limited to",
		injectors.IncludePorts:   "ports that are redirected whatever their address",
		injectors.ExcludeUIDs:    "users whose processes are left out of the redirect",
		injectors.ExcludeInbound: "ports of the pod that are reached without the proxy",
		injectors.IncludeInbound: "ports of the pod that the proxy takes",
	}[m]
}
