package knowledge

import (
	"fmt"
	"regexp"
	"strings"
)

// server is a webhook's server that is known by the name of its Service or of its webhook. Error texts name the Service's
// port; what a firewall must let pass is the port of the pods.
type server struct {
	Name    string `json:"name"`
	Service string `json:"service,omitempty"` // a pattern for the whole name
	Webhook string `json:"webhook,omitempty"`
	Target  string `json:"target,omitempty"` // the pods' port; empty where it is not known
	Source  string `json:"source"`

	service, webhook *regexp.Regexp
}

func (s *server) compile() (err error) {
	if s.Service == "" && s.Webhook == "" || s.Source == "" {
		return fmt.Errorf("%s: service or webhook, and source, are required", s.Name)
	}
	if s.service, err = whole(s.Service); err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	if s.webhook, err = whole(s.Webhook); err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	return nil
}

func whole(pattern string) (*regexp.Regexp, error) {
	if pattern == "" {
		return nil, nil //nolint:nilnil // no pattern, no regular expression
	}
	return regexp.Compile(`^(?:` + pattern + `)$`)
}

// find returns the server that a webhook or a Service belongs to. The Service says more: names of webhooks outlive it.
func find(servers []server, service, webhook string) *server {
	for i := range servers {
		if s := &servers[i]; service != "" && s.service != nil && s.service.MatchString(service) {
			return s
		}
	}
	for i := range servers {
		if s := &servers[i]; service == "" && webhook != "" && s.webhook != nil && s.webhook.MatchString(webhook) {
			return s
		}
	}
	return nil
}

// derive adds to the names of groups the values that complete makes of them.
func derive(groups map[string]bool) {
	if groups["url"] {
		for _, name := range []string{"host", "port", "path", "service", "namespace"} {
			groups[name] = true
		}
	}
	if groups["service"] || groups["webhook"] || groups["dialport"] {
		groups["server"], groups["target"] = true, true
	}
}

// complete adds what follows from the values found:
//
//	url       host, port, path, and of a Service's host: service, namespace
//	service   server (what runs there) and target (the port of its pods); so does webhook
//	dialport  target, where it is not the Service's own port: the API server then dialed a pod
func (b *Base) complete(values map[string]string) {
	if url := values["url"]; url != "" {
		rest, _, _ := strings.Cut(strings.TrimPrefix(url, "https://"), "?")
		host, path, _ := strings.Cut(rest, "/")
		host, port, hasPort := strings.Cut(host, ":")
		if !hasPort {
			port = "443" // the default of webhook configurations
		}
		values["host"], values["port"], values["path"] = host, port, "/"+path
		if labels := strings.Split(host, "."); len(labels) >= 3 && labels[2] == "svc" {
			values["service"], values["namespace"] = labels[0], labels[1]
		}
	}
	if s := find(b.servers, values["service"], values["webhook"]); s != nil {
		values["server"], values["target"] = s.Name, s.Target
	}
	if port := values["dialport"]; port != "" && port != values["port"] {
		values["target"] = port
	}
}

// fill replaces the placeholders of a sentence.
func fill(text string, values map[string]string) string {
	return replace(text, func(name string) string { return values[name] })
}

// fillCommand is fill for a line that will be pasted into a shell: what was found in a text is not trusted there.
func fillCommand(text string, values map[string]string) string {
	return replace(text, func(name string) string {
		if !plain.MatchString(values[name]) {
			return ""
		}
		return values[name]
	})
}

var plain = regexp.MustCompile(`^[A-Za-z0-9/][A-Za-z0-9._:/-]*$`)

func replace(text string, value func(name string) string) string {
	return placeholders.ReplaceAllStringFunc(text, func(found string) string {
		name, otherwise, given := strings.Cut(found[len("{{"):len(found)-len("}}")], "|")
		switch v := value(name); {
		case v != "":
			return v
		case given:
			return otherwise
		}
		return strings.ToUpper(name)
	})
}
