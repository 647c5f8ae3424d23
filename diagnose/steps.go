package diagnose

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// steps joins the lines of a fix, leaving out empty ones. A line is prose, which begins with a capital letter and ends with a
// full stop or a colon, or one command, which pastes as it is into any shell: sh, bash, zsh, on Linux and macOS. Commands that
// are not needed come last, behind a line that says when they are.
func steps(lines ...string) string {
	var out []string
	for _, l := range lines {
		if l = strings.TrimSpace(l); l != "" {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

// kubectl begins a command about our namespace.
func (s *Subject) kubectl() string { return "kubectl -n " + s.Own.Namespace }

// deploymentName names our Deployment as kubectl takes it.
func (s *Subject) deploymentName(ctx context.Context) string {
	if s.seen != nil {
		ctx, cancel := context.WithTimeout(ctx, lookUp)
		defer cancel()
		if d, err := s.deployment(ctx); err == nil && d != nil {
			return "deploy/" + d.Name
		}
	}
	return "deploy/" + s.Own.Service
}

// logs prints the end of what our servers have said, all of them.
func (s *Subject) logs() string {
	return s.kubectl() + " logs -l " + nameLabel + "=" + ourName + " --tail=50 --prefix"
}

// inside runs a command of Holdfast's own binary in one of its pods.
func (s *Subject) inside(ctx context.Context, command string) string {
	return s.kubectl() + " exec " + s.deploymentName(ctx) + " -- /holdfast " + command
}

// holdfast runs a command of Holdfast's own binary: in a pod, where it is the server that speaks, for its reader may have no
// binary; else the way whoever asks has just done.
func (s *Subject) holdfast(ctx context.Context, command string) string {
	if s.Server != nil {
		return s.inside(ctx, command)
	}
	if s.Own.Namespace != defaultNamespace || s.Own.Service != defaultService { // there may be others
		command += " --namespace " + s.Own.Namespace + " --service-name " + s.Own.Service
	}
	return "holdfast " + command
}

// restart makes new pods, the old ones stay until they are ready.
func (s *Subject) restart(ctx context.Context) string {
	return s.kubectl() + " rollout restart " + s.deploymentName(ctx)
}

// down is the answer where no server of ours answers at all: what is known of its pods, and what to do about them.
func (s *Subject) down(ctx context.Context, err error) Result {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	const nobody = "no server of Holdfast's runs"
	pods, _ := s.pods(ctx)
	for i := range pods {
		if why := notReady(&pods[i]); why != "" {
			return failed(s.unready(ctx, &pods[i]), "%s: pod %s %s", nobody, pods[i].Name, why)
		}
	}
	if ready, waiting, unlisted := s.endpoints(ctx); unlisted == nil && len(ready) == 0 {
		r := s.noEndpoints(ctx, waiting)
		return failed(r.Fix, "%s: %s", nobody, r.Message)
	}
	log := stamped(ourName) + ".log"
	return failed(steps("Start it anew; what it has said stays in this directory:", s.kubectl()+" logs -l "+nameLabel+"="+ourName+" --tail=-1 --prefix > "+log, s.restart(ctx),
		"If it does not stay, the log of the run before has the reason:", s.kubectl()+" logs -l "+nameLabel+"="+ourName+" --tail=50 --prefix --previous", s.kubectl()+" get pods -o wide",
		s.goBack(ctx, "If it came with a new version or arguments, go back (a ConfigMap that was changed in place stays as it is):")),
		"%s, although its endpoints are listed as ready: nothing listens at the port of its report: %v", nobody, err)
}

// op is one operation of a JSON patch.
type op struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// patch is the line that changes an entry: paths begin in the entry. It changes nothing where somebody has put the entries into
// another order meanwhile.
func (e *Entry) patch(ops ...op) string { return patchEntries([]*Entry{e}, ops...) }

// patchEntries does the same to several entries, in one line for each configuration.
func patchEntries(entries []*Entry, ops ...op) string {
	return patchEach(entries, func(*Entry) []op { return ops })
}

// patchEach changes each entry in its own way; those without operations are left out.
func patchEach(entries []*Entry, change func(*Entry) []op) string {
	var lines []string
	for _, of := range byConfiguration(entries) {
		var all []op
		for _, e := range of {
			ops := change(e)
			if len(ops) == 0 {
				continue
			}
			at := "/webhooks/" + strconv.Itoa(e.Index)
			all = append(all, op{"test", at + "/name", e.Name})
			for _, o := range ops {
				o.Path = at + o.Path
				all = append(all, o)
			}
		}
		if len(all) > 0 {
			lines = append(lines, "kubectl patch "+of[0].Where()+" --type=json -p '"+encode(all)+"'")
		}
	}
	return steps(lines...)
}

// pointer is a key as the path of a JSON patch has it (RFC 6901).
func pointer(key string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(key) }

// create makes an object that is not there, or makes it as it should be.
func create(object any) string { return "echo '" + encode(object) + "' | kubectl apply -f -" }

// aside keeps a copy of an object of our namespace in a file, beside those of earlier times.
func (s *Subject) aside(kind, name string) string {
	return s.kubectl() + " get " + kind + " " + name + " -o yaml > " + stamped(name) + ".yaml"
}

// stamped is the name of a file that a shell gives the time to.
func stamped(name string) string { return name + "-$(date +%m%d-%H%M%S)" }

// failOpen is the line that has pods start while Holdfast cannot be called; "" where they do already.
func failOpen(entries []*Entry) string {
	var closed []*Entry
	for _, e := range entries {
		if !e.Probe() && e.Fails() {
			closed = append(closed, e)
		}
	}
	return patchEntries(closed, op{"replace", "/failurePolicy", "Ignore"})
}

// encode prints a value as JSON that can stand between single quotes.
func encode(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // maps, lists and strings: cannot happen
		return fmt.Sprintf("%v", err)
	}
	return strings.ReplaceAll(strings.TrimSpace(b.String()), "'", `\u0027`)
}

// byConfiguration sorts entries by the configuration that they are in.
func byConfiguration(entries []*Entry) [][]*Entry {
	var out [][]*Entry
	for _, e := range entries {
		if n := len(out); n > 0 && out[n-1][0].Where() == e.Where() {
			out[n-1] = append(out[n-1], e)
			continue
		}
		out = append(out, []*Entry{e})
	}
	return out
}
