package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// scene is one outcome, and how to bring it about.
type scene struct {
	outcome, title, text string
	style                style
	play                 func(ctx context.Context, d *demo) ([]row, error)
}

// before returns what is shown without Holdfast.
func before() []scene {
	return []scene{{"stuck", "a pod that hangs in Init, without Holdfast", "", red, stuck}}
}

// after returns what is shown with Holdfast.
func after() []scene {
	return []scene{
		{"fixed", "the same Deployment where Holdfast enforces", `Vault's container is moved in front of the redirect, and the app is held until the proxy
			serves. The file is the same, and the pod is made by the ReplicaSet controller.`, green, fixed},
		{"fixed", "the same where the CNI plugin redirects", `Here traffic is redirected before any container starts, so no order helps. What Vault's container needs
			to reach is exempt from the mesh instead: one address, for the whole pod, so the app reaches Vault past the mesh as well.`, green, exempted},
		{"refused", "a pod that cannot be put right", `Its owner has exempted Vault's address, but the mesh captures DNS in this pod as well, and Vault is known by
			name.`, red, refusedPod},
		{"refused", "a Deployment whose pods cannot be put right", `Vault is outside the cluster, under a name whose address nobody in the cluster knows: it
			cannot be exempt. Its port can; that is for a person to decide.`, red, refusedOwner},
		{"refused", "the pods of a Deployment that was there before", `Its namespace turns Holdfast on later. Updates of a workload are never refused, only warned about;
			its new pods are, and their ReplicaSet says so.`, red, refusedLater},
		{"warned", "mode warn: said to the client, nothing touched", "", yellow, warned},
		{"audited", "mode audit: recorded, nothing touched, nothing said", "", bold, audited},
		{"left alone", "pods that need nothing", `In a namespace with mode enforce: one pod without mesh and Vault, and one whose proxy is a native sidecar
			(istio-proxy*: the star marks an init container that keeps running), which serves before Vault's container starts.`, green, alone},
	}
}

// directory of the manifests, from the root of the repository.
const directory = "test/demo/testdata/"

const (
	stuckOrder   = "migrate, istio-init, vault-agent-init | app, istio-proxy, vault-agent"
	fixedOrder   = "migrate, vault-agent-init, istio-init | istio-proxy, app, vault-agent"
	cniOrder     = "istio-validation, migrate, vault-agent-init | app, istio-proxy, vault-agent"
	heldCNIOrder = "istio-validation, migrate, vault-agent-init | istio-proxy, app, vault-agent"
	nativeOrder  = "istio-init, istio-proxy*, migrate, vault-agent-init | app, vault-agent"
	outsideOrder = "istio-validation, vault-agent-init | istio-proxy, app, vault-agent"
	aloneOrder   = "migrate | app"
)

func stuck(ctx context.Context, d *demo) ([]row, error) {
	if _, err := d.kubectl(ctx, "-n without apply -f "+directory+"web.yaml", false); err != nil {
		return nil, err
	}
	pod, err := d.podOf(ctx, "without", "web")
	if err != nil {
		return nil, err
	}
	got, err := d.shape(ctx, pod, vaultService)
	if err != nil {
		return nil, err
	}
	d.table(got)
	d.line("")
	if d.rig != nil {
		d.say(`(Measured: each container, in this order and as its own user, opens a connection to Vault's ClusterIP in a network namespace where
			Istio's own iptables rules are. "direct" is past the mesh, "by proxy" through it.)`)
	} else {
		d.say("(Who reaches Vault is not measured here: " + d.unplayed.Error() + ".)")
	}
	d.line("")
	d.say(`Why it is stuck: istio-init sends all traffic to istio-proxy, which starts only after all init containers have ended, and
		vault-agent-init, which comes in between, does not end before it has reached Vault. No event and no error says so.`)
	if err := errors.Join(is("order", got.order(), stuckOrder), d.reaches(got, "vault-agent-init", "REFUSED")); err != nil {
		return nil, err
	}
	return []row{{pod: "without/web", happened: "hangs in Init: vault-agent-init is behind istio-init"}}, nil
}

func fixed(ctx context.Context, d *demo) ([]row, error) {
	return d.cured(ctx, "enforced", "without", stuckOrder, fixedOrder, "hold, reorder")
}

func exempted(ctx context.Context, d *demo) ([]row, error) {
	return d.cured(ctx, "enforced-cni", "without-cni", cniOrder, heldCNIOrder, "hold, exempt-address")
}

// cured creates the Deployment in a namespace and shows what became of its pod, beside what becomes of it without Holdfast.
func (d *demo) cured(ctx context.Context, namespace, without, before, after, remedies string) ([]row, error) {
	if _, err := d.kubectl(ctx, "-n "+namespace+" apply -f "+directory+"web.yaml", false); err != nil {
		return nil, err
	}
	pod, err := d.podOf(ctx, namespace, "web")
	if err != nil {
		return nil, err
	}
	was, got, applied, err := d.compare(ctx, pod, "web", without, directory+"web.yaml", vaultService)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(
		is("order without Holdfast", was.order(), before),
		d.reaches(was, "vault-agent-init", "REFUSED"),
		is("order", got.order(), after),
		is("remedies", strings.Join(applied, ", "), remedies),
		d.reaches(got, "vault-agent-init", "direct"),
		d.reaches(got, "app", "by proxy", "direct"),
	); err != nil {
		return nil, err
	}
	return []row{{pod: namespace + "/web", happened: "admitted, put right: " + remedies}}, nil
}

func refusedPod(ctx context.Context, d *demo) ([]row, error) {
	out, err := d.kubectl(ctx, "-n enforced-cni apply -f "+directory+"dns.yaml", true)
	if err != nil {
		return nil, err
	}
	if err := contains("refusal", out, "HF106", "vault-agent-init"); err != nil {
		return nil, err
	}
	return []row{{pod: "enforced-cni/dns", happened: "refused: HF106, to whoever creates it"}}, nil
}

func refusedOwner(ctx context.Context, d *demo) ([]row, error) {
	out, err := d.kubectl(ctx, "-n enforced-cni apply -f "+directory+"outside.yaml", true)
	if err != nil {
		return nil, err
	}
	if err := contains("refusal", out, "HF101", "vault-agent-init", `excludeOutboundPorts: "8200"`); err != nil {
		return nil, err
	}
	d.line("")
	d.say("outside-mended.yaml is the same file with that annotation:")
	if _, err := d.kubectl(ctx, "-n enforced-cni apply -f "+directory+"outside-mended.yaml", false); err != nil {
		return nil, err
	}
	pod, err := d.podOf(ctx, "enforced-cni", "outside")
	if err != nil {
		return nil, err
	}
	got, err := d.shape(ctx, pod, vaultOutside)
	if err != nil {
		return nil, err
	}
	d.table(got)
	if err := errors.Join(is("order", got.order(), outsideOrder), d.reaches(got, "vault-agent-init", "direct")); err != nil {
		return nil, err
	}
	return []row{
		{pod: "enforced-cni/outside", happened: "refused: HF101, to whoever creates the Deployment"},
		{outcome: "mended", pod: "enforced-cni/outside", happened: "admitted with the annotation that HF101 asks for"},
	}, nil
}

func refusedLater(ctx context.Context, d *demo) ([]row, error) {
	for _, line := range []string{
		"-n older apply -f " + directory + "outside.yaml",
		"label namespace older holdfast.dev/mode=enforce",
	} {
		if _, err := d.kubectl(ctx, line, false); err != nil {
			return nil, err
		}
	}
	if err := d.until(ctx, "Holdfast to be asked about the namespace", d.refuses("older", "outside", directory+"outside.yaml")); err != nil {
		return nil, err
	}
	out, err := d.kubectl(ctx, "-n older rollout restart deployment/outside", false)
	if err != nil {
		return nil, err
	}
	if err := contains("answer", out, "Warning:", "HF101"); err != nil {
		return nil, err
	}
	if err := d.until(ctx, "the ReplicaSet's event", d.failedCreate("older", "outside")); err != nil {
		return nil, err
	}
	if out, err = d.kubectl(ctx, "-n older get events --field-selector reason=FailedCreate -o custom-columns=OBJECT:.involvedObject.name,MESSAGE:.message", false); err != nil {
		return nil, err
	}
	if err := contains("event", out, "HF101", "vault-agent-init", "excludeOutboundPorts"); err != nil {
		return nil, err
	}
	return []row{{pod: "older/outside", happened: "refused: HF101, in an event of its new ReplicaSet"}}, nil
}

func warned(ctx context.Context, d *demo) ([]row, error) {
	out, err := d.kubectl(ctx, "-n warned apply -f "+directory+"pod.yaml", false)
	if err != nil {
		return nil, err
	}
	if err := contains("answer", out, "Warning:", "HF101", "reorder"); err != nil {
		return nil, err
	}
	if err := d.same(ctx, "warned", "web", directory+"pod.yaml"); err != nil {
		return nil, err
	}
	return []row{{pod: "warned/web", happened: "admitted as it was, with warnings"}}, nil
}

func audited(ctx context.Context, d *demo) ([]row, error) {
	if _, err := d.kubectl(ctx, "-n audited apply -f "+directory+"pod.yaml", false); err != nil {
		return nil, err
	}
	if err := d.same(ctx, "audited", "web", directory+"pod.yaml"); err != nil {
		return nil, err
	}
	record, err := d.record(ctx, "audited", "web")
	if err != nil {
		return nil, err
	}
	d.line("")
	d.say("The API server's audit log has, in the event of this request:")
	d.line("")
	for _, key := range slices.Sorted(maps.Keys(record)) {
		d.entry(key, record[key], 37)
	}
	const webhook = "pods.validate.holdfast.dev/"
	if err := errors.Join(is("decision", record[webhook+"decision"], "would-change"), is("remedies", record[webhook+"remedies"], "hold,reorder")); err != nil {
		return nil, err
	}
	return []row{{pod: "audited/web", happened: "admitted as it was; recorded: would-change, hold and reorder"}}, nil
}

func alone(ctx context.Context, d *demo) ([]row, error) {
	if _, err := d.kubectl(ctx, "-n enforced apply -f "+directory+"alone.yaml", false); err != nil {
		return nil, err
	}
	var rows []row
	for _, c := range []struct{ name, order string }{{"alone", aloneOrder}, {"native", nativeOrder}} {
		if err := d.same(ctx, "enforced", c.name, directory+"alone.yaml"); err != nil {
			return nil, err
		}
		n, err := d.changes(ctx, "enforced", c.name)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			return nil, fmt.Errorf("the API server's audit log has %d changes by Holdfast to pod %s, want none", n, c.name)
		}
		rows = append(rows, row{pod: "enforced/" + c.name, happened: "admitted as it was, no patch"})
	}
	return rows, nil
}

// is compares what came out with what the scene announces.
func is(what, got, want string) error {
	if got == want {
		return nil
	}
	return fmt.Errorf("%s: got %s, want %s", what, got, want)
}

func contains(what, text string, parts ...string) error {
	flat := strings.Join(strings.Fields(text), " ")
	for _, part := range parts {
		if !strings.Contains(flat, part) {
			return fmt.Errorf("%s: got %q, want %q in it", what, flat, part)
		}
	}
	return nil
}

// reaches compares what the kernel said of a container; where nobody asked it, there is nothing to compare.
func (d *demo) reaches(s shape, container string, want ...string) error {
	if got := s.reached(container); d.rig != nil && !slices.Contains(want, got) {
		return fmt.Errorf("%s: got %s from the kernel, want %s", container, got, strings.Join(want, " or "))
	}
	return nil
}
