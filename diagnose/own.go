package diagnose

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// defaultPort is what --webhook-port is without a word.
const defaultPort = 9443

// served returns the certificate that our server presents, the leaf first.
func (s *Subject) served(ctx context.Context) ([]*x509.Certificate, error) {
	if s.Server != nil {
		c, err := s.Server.Certificate()
		if err != nil {
			return nil, err
		}
		if c == nil {
			return nil, errors.New("no certificate yet")
		}
		return parseChain(c.Certificate)
	}
	r, err := s.serverReport(ctx)
	if err != nil {
		return nil, err
	}
	var chain [][]byte
	for rest := []byte(r.Certificate); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		chain = append(chain, block.Bytes)
	}
	return parseChain(chain)
}

func parseChain(der [][]byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for _, raw := range der {
		c, err := x509.ParseCertificate(raw)
		if err != nil {
			return nil, fmt.Errorf("parse certificate: %w", err)
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, errors.New("no certificate yet")
	}
	return chain, nil
}

func encodeChain(chain []*x509.Certificate) string {
	var b strings.Builder
	for _, c := range chain {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return b.String()
}

// deployment returns our Deployment: the one in our namespace whose pods the Service selects, or that bears the Service's name.
func (s *Subject) deployment(ctx context.Context) (*appsv1.Deployment, error) {
	all, err := s.Deployments(ctx, s.Own.Namespace)
	if err != nil {
		return nil, err
	}
	service, err := s.Service(ctx, s.Own.Namespace, s.Own.Service)
	if err != nil {
		return nil, err
	}
	var named *appsv1.Deployment
	for i := range all {
		d := &all[i]
		if service != nil && selected(service, d.Spec.Template.Labels) {
			return d, nil
		}
		if d.Name == s.Own.Service {
			named = d
		}
	}
	return named, nil
}

// selected tells whether a Service sends calls to pods with these labels.
func selected(service *corev1.Service, l map[string]string) bool {
	return len(service.Spec.Selector) > 0 && labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(l))
}

// pods returns the pods that our Service selects.
func (s *Subject) pods(ctx context.Context) ([]corev1.Pod, error) {
	service, err := s.Service(ctx, s.Own.Namespace, s.Own.Service)
	if err != nil || service == nil {
		return nil, err
	}
	all, err := s.Pods(ctx, s.Own.Namespace)
	if err != nil {
		return nil, err
	}
	var out []corev1.Pod
	for i := range all {
		if selected(service, all[i].Labels) && all[i].Status.Phase != corev1.PodSucceeded && all[i].Status.Phase != corev1.PodFailed {
			out = append(out, all[i])
		}
	}
	return out, nil
}

// port is what our server listens on: by its own word, or by the arguments of its Deployment.
func (s *Subject) port(ctx context.Context) int {
	if s.Own.Port != 0 {
		return s.Own.Port
	}
	if r, err := s.serverReport(ctx); err == nil && r.Port != 0 {
		return r.Port
	}
	d, err := s.deployment(ctx)
	if err != nil || d == nil {
		return defaultPort
	}
	for i := range d.Spec.Template.Spec.Containers {
		value, _, _ := argument(d.Spec.Template.Spec.Containers[i].Args, "--webhook-port")
		if port, err := strconv.Atoi(value); err == nil {
			return port
		}
	}
	return defaultPort
}

// argument finds a flag among arguments: its value, where it begins, and how many words it takes; none where it is not there.
func argument(args []string, flag string) (value string, at, words int) {
	for i, arg := range args {
		if value, ok := strings.CutPrefix(arg, flag+"="); ok {
			return value, i, 1
		}
		if arg == flag && i+1 < len(args) {
			return args[i+1], i, 2
		}
	}
	return "", 0, 0
}

// target resolves the port of the pods to which a port of a Service leads; 0 where the name leads nowhere.
func target(port *corev1.ServicePort, spec *corev1.PodSpec) int32 {
	if port.TargetPort.Type == intstr.Int {
		if port.TargetPort.IntVal == 0 {
			return port.Port
		}
		return port.TargetPort.IntVal
	}
	if spec != nil {
		for i := range spec.Containers {
			for _, p := range spec.Containers[i].Ports {
				if p.Name == port.TargetPort.StrVal {
					return p.ContainerPort
				}
			}
		}
	}
	return 0
}
