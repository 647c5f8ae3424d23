package injectors

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// InitNetworkAnnotation says which of the pod's own init containers need the network, and where:
//
//	holdfast.dev/init-network: migrate, fetch=vault.vault.svc:8200
const InitNetworkAnnotation = "holdfast.dev/init-network"

// Declaration is one entry of the InitNetworkAnnotation.
type Declaration struct {
	Container string
	To        Endpoint // zero where only the need was declared
}

// maxDeclared bounds what one pod may ask of the remedies, which try places for each of its dialers.
const maxDeclared = 64

var (
	errTooMany     = fmt.Errorf("more than %d entries", maxDeclared)
	errNoPort      = errors.New("no port, want HOST:PORT")
	errNotHostPort = errors.New("want HOST:PORT, with a port from 1 to 65535")
)

// ParseInitNetwork reads the InitNetworkAnnotation. Entries that are wrong, or too many, are left out, and err names the first
// of them.
func ParseInitNetwork(value string) (declared []Declaration, err error) {
	for entry := range strings.SplitSeq(value, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		if len(declared) == maxDeclared {
			return declared, errTooMany
		}
		name, address, has := strings.Cut(entry, "=")
		d := Declaration{Container: strings.TrimSpace(name)}
		if has {
			to, bad := ParseHostPort(strings.TrimSpace(address))
			if bad != nil {
				if err == nil {
					err = fmt.Errorf("%q: %w", strings.TrimSpace(address), bad)
				}
				continue
			}
			d.To = to
		}
		declared = append(declared, d)
	}
	return declared, err
}

// ParseHostPort reads host:port.
func ParseHostPort(address string) (Endpoint, error) {
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil && !strings.Contains(address, ":"):
		return Endpoint{}, errNoPort
	case err != nil:
		return Endpoint{}, errNotHostPort
	}
	host = hostname(host)
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" {
		return Endpoint{}, errNotHostPort
	}
	return Endpoint{Host: host, Port: uint16(n)}, nil
}

// KnownInit is an init container of which the configuration says that it needs the network.
type KnownInit struct {
	Name  string // of the container; "" for any
	Image string // its repository, without a registry, a tag or a digest; "" for any
	To    Endpoint
}

// is tells whether the container is meant.
func (k *KnownInit) is(c *corev1.Container) bool {
	return c != nil && (k.Name == "" || k.Name == c.Name) && (k.Image == "" || repository(c.Image, k.Image))
}

// repository tells whether an image is of the repository, whatever its registry, tag and digest: docker.io/flyway/flyway:11 is
// of flyway/flyway.
func repository(image, want string) bool {
	image, _, _ = strings.Cut(image, "@")
	if colon := strings.LastIndexByte(image, ':'); colon > strings.LastIndexByte(image, '/') {
		image = image[:colon]
	}
	return image == want || strings.HasSuffix(image, "/"+want)
}

// declare turns the pod's own init containers of which the user, or the configuration, says that they need the network into
// dialers.
func (p *Plan) declare() {
	for k := range p.Env.InitNetwork {
		known := &p.Env.InitNetwork[k]
		for i := range p.Inits {
			if known.is(p.Container(&p.Inits[i])) {
				p.needs(&p.Inits[i], known.To)
			}
		}
	}
	value, ok := p.Target.Meta.Annotations[InitNetworkAnnotation]
	if !ok {
		return
	}
	declared, _ := ParseInitNetwork(value) // what is wrong in it is reported by a rule
	for _, d := range declared {
		for i := range p.Inits {
			if p.Inits[i].Name == d.Container {
				p.needs(&p.Inits[i], d.To)
			}
		}
	}
}

// needs notes that one of the pod's own init containers needs the network, and where.
func (p *Plan) needs(s *Step, to Endpoint) {
	if s.Role != Own && !s.Declared {
		return
	}
	s.Role, s.Declared = Dialer, true
	if to.Known() {
		s.To = append(s.To, p.resolve(to))
	}
}
