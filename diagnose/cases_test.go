package diagnose

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/test/controlplane"
	"holdfast.dev/holdfast/test/holdfast"
)

var update = flag.Bool("update", false, "rewrite the part want of cases")

// A case is a txtar file below testdata/NAME, NAME that of the probe which is asked, about a healthy installation of the
// shipped manifests with what the case changes:
//
//	change.yaml   patch: JSON patches by KIND/NAME; delete: KIND/NAME
//	add.yaml      more objects
//	subject.yaml  what is not in the cluster: see fixture
//	want          STATE: MESSAGE, and the fix below it; rewritten by -update
//
// $OURS and $OTHER stand for the bundles of the CA that signed what is served and of another one.
type change struct {
	Patch  map[string][]map[string]any `json:"patch"`
	Delete []string                    `json:"delete"`
}

// fixture is what a case says beside objects. Times are hours from now.
type fixture struct {
	Outside bool     `json:"outside"` // the probe is asked by the command, not by the server
	Port    int      `json:"port"`
	Names   []string `json:"names"` // of the certificate that is served
	From    float64  `json:"from"`
	Until   float64  `json:"until"`
	None    bool     `json:"none"`  // no certificate is served
	Files   string   `json:"files"` // good, mismatched, missing, other; "": --cert-dir is not set
	// Mounted is the Secret that the Deployment mounts where --cert-dir points; Issued tells that cert-manager writes it.
	Mounted string `json:"mounted"`
	Issued  bool   `json:"issued"`
	// Clock is the API server's; without it nobody knows what it says.
	Clock *float64 `json:"clock"`
	// CA is the one that is beside the certificate in its directory: ours, other.
	CA string `json:"ca"`
	// Dial is what an address does: refused, silent, plain, hangs (after the handshake), or the CA of what it presents (ours, other); ours without a word.
	Dial    map[string]string `json:"dial"`
	Denied  []string          `json:"denied"` // VERB RESOURCE
	Waiting []string          `json:"waiting"`
	Missing []string          `json:"missing"`
	// Try is what the API server says of the probe's ConfigMap: an error, or which marks are on it (both without a word).
	Try    *string          `json:"try"`
	Marks  []string         `json:"marks"`
	Needed map[string]State `json:"needed"`
	About  string           `json:"about"`
	Down   string           `json:"down"` // the API server's error
}

// signer is a CA for tests.
type signer struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newSigner(t *testing.T, name string) *signer {
	t.Helper()
	c, key, _ := authority(t, today.AddDate(10, 0, 0))
	c.Subject, c.RawSubject = pkix.Name{CommonName: name}, nil
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return &signer{c, key}
}

func (s *signer) bundle() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.certificate.Raw})
}

func (s *signer) issue(t *testing.T, names []string, from, until time.Time) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), DNSNames: names, NotBefore: from, NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, s.certificate, key.Public(), s.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func writePair(t *testing.T, dir string, certificate, key *tls.Certificate) {
	t.Helper()
	encoded, err := x509.MarshalPKCS8PrivateKey(key.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}, "tls.key": {Type: "PRIVATE KEY", Bytes: encoded},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCases asks each probe about every case in its folder. Probes for ourselves have a folder, with a case that passes and
// one that does not.
func TestCases(t *testing.T) {
	t.Parallel()
	for _, p := range All() {
		if p.Code > "HF219" {
			continue
		}
		files, err := filepath.Glob(filepath.Join("testdata", p.Name, "*.txtar"))
		if err != nil {
			t.Fatal(err)
		}
		kinds := map[string]bool{}
		for _, file := range files {
			kind, _, _ := strings.Cut(filepath.Base(file), "-")
			kinds[kind] = true
			t.Run(p.Name+"/"+strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
				t.Parallel()
				askCase(t, &p, file, kind)
			})
		}
		if !kinds["pass"] || !kinds["fail"] {
			t.Errorf("%s: want a case that passes and one that fails in testdata/%s", p.Code, p.Name)
		}
	}
}

func TestEveryFolderIsAProbe(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.ContainsFunc(All(), func(p Probe) bool { return p.Name == e.Name() }) {
			t.Errorf("testdata/%s: no probe has that name", e.Name())
		}
	}
}

func askCase(t *testing.T, p *Probe, file, kind string) {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(bytes.TrimSpace(archive.Comment)) == 0 {
		t.Error("say why the case exists")
	}
	ours, other := newSigner(t, "ours"), newSigner(t, "other")
	parts, want := map[string]string{}, ""
	for _, f := range archive.Files {
		text := strings.ReplaceAll(string(f.Data), "$OURS", base64.StdEncoding.EncodeToString(ours.bundle()))
		text = strings.ReplaceAll(text, "$OTHER", base64.StdEncoding.EncodeToString(other.bundle()))
		switch f.Name {
		case "want":
			want = string(f.Data)
		case "change.yaml", "add.yaml", "subject.yaml":
			parts[f.Name] = text
		default:
			t.Fatalf("part %s is not known", f.Name)
		}
	}
	s := newCase(t, parts, ours, other)
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
	defer cancel()
	s.seen = newSeen(ctx)
	r := p.weighed(ctx, s, p.ask(ctx, s))
	got := fmt.Sprintf("%s: %s\n", r.State, r.Message)
	if r.Effect != "" {
		got += "  " + r.Effect + "\n"
	}
	for part := range strings.SplitSeq(r.Fix, "\n") {
		if part != "" {
			got += "    " + part + "\n"
		}
	}
	checkFix(t, &r)
	if s.Server != nil && s.Server.CertDir != "" {
		got = strings.ReplaceAll(got, s.Server.CertDir, "DIR")
	}
	states := map[string][]State{"pass": {Passed}, "fail": {Failed, Warning}, "none": {NotApplicable}, "unknown": {Unknown}}
	if !slices.Contains(states[kind], r.State) {
		t.Errorf("got %s from a case called %s", r.State, kind)
	}
	if *update {
		archive.Files = append(slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return f.Name == "want" }), txtar.File{Name: "want", Data: []byte(got)})
		if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// checkFix holds what a fix promises: lines of prose, which end, and lines that paste.
func checkFix(t *testing.T, r *Result) {
	t.Helper()
	if r.State == Failed && r.Fix == "" {
		t.Error("nothing says what to do")
	}
	if begin, _, _ := strings.Cut(r.Fix, "\n"); command(begin) {
		t.Errorf("got %q first, want a sentence that says what it does", begin)
	}
	programs := []string{"kubectl", "holdfast", "istioctl", "helm", "argocd", "flux", "gcloud", "aws", "az", "openssl", "test", "date", "echo"}
	for l := range strings.SplitSeq(r.Fix, "\n") {
		first, _, _ := strings.Cut(l, " ")
		switch {
		case l == "":
		case command(l):
			if !strings.Contains(first, "=") && !slices.Contains(programs, first) {
				t.Errorf("got %q, which is neither a sentence nor a command of a program that is known here", l)
			}
			for _, words := range []string{"<<<", " # ", "-w0", "; or "} {
				if strings.Contains(l, words) {
					t.Errorf("got %q, which does not paste into every shell", l)
				}
			}
		case !strings.HasSuffix(l, ".") && !strings.HasSuffix(l, ":"):
			t.Errorf("got %q, want a sentence with an end, or a command alone on its line", l)
		}
	}
}

// shipped are the manifests, rendered once.
var shipped = sync.OnceValues(func() ([]*unstructured.Unstructured, error) { return holdfast.Render("cluster-wide", "", "") })

// installation is what the shipped manifests make, with two pods behind the Service.
func installation(t *testing.T, ours *signer) []*unstructured.Unstructured {
	t.Helper()
	rendered, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	var objects []*unstructured.Unstructured
	for _, o := range rendered {
		o = o.DeepCopy()
		objects = append(objects, o)
		switch o.GetKind() {
		case "Namespace":
			o.SetLabels(map[string]string{corev1.LabelMetadataName: o.GetName(), config.ModeLabel: "off"})
		case "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
			entries, _, _ := unstructured.NestedSlice(o.Object, "webhooks")
			for _, e := range entries {
				e.(map[string]any)["clientConfig"].(map[string]any)["caBundle"] = base64.StdEncoding.EncodeToString(ours.bundle())
			}
			_ = unstructured.SetNestedSlice(o.Object, entries, "webhooks")
		}
	}
	return append(objects, parse(t, `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {kubernetes.io/metadata.name: shop, holdfast.dev/mode: enforce}}
---
apiVersion: v1
kind: Namespace
metadata: {name: kube-system, labels: {kubernetes.io/metadata.name: kube-system}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: holdfast-x, namespace: holdfast-system, labels: {kubernetes.io/service-name: holdfast, endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io}}
addressType: IPv4
ports: [{name: https, port: 9443, protocol: TCP}]
endpoints:
- {addresses: [10.0.0.1], conditions: {ready: true}, targetRef: {kind: Pod, namespace: holdfast-system, name: holdfast-a}}
- {addresses: [10.0.0.2], conditions: {ready: true}, targetRef: {kind: Pod, namespace: holdfast-system, name: holdfast-b}}
---
apiVersion: v1
kind: Pod
metadata:
  name: holdfast-a
  namespace: holdfast-system
  labels: {app.kubernetes.io/name: holdfast, app.kubernetes.io/component: webhook}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: holdfast-7d9, uid: "1", controller: true}]
spec: {containers: [{name: holdfast, image: holdfast, ports: [{name: https, containerPort: 9443}]}]}
status: {phase: Running, podIP: 10.0.0.1, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: holdfast-b
  namespace: holdfast-system
  labels: {app.kubernetes.io/name: holdfast, app.kubernetes.io/component: webhook}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: holdfast-7d9, uid: "1", controller: true}]
spec: {containers: [{name: holdfast, image: holdfast, ports: [{name: https, containerPort: 9443}]}]}
status: {phase: Running, podIP: 10.0.0.2, conditions: [{type: Ready, status: "True"}]}
`)...)
}

func parse(t *testing.T, stream string) []*unstructured.Unstructured {
	t.Helper()
	objects, err := controlplane.Objects([]byte(stream))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func apply(t *testing.T, objects []*unstructured.Unstructured, c *change) []*unstructured.Unstructured {
	t.Helper()
	name := func(o *unstructured.Unstructured) string { return o.GetKind() + "/" + o.GetName() }
	for what, ops := range c.Patch {
		at := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return name(o) == what })
		if at < 0 {
			t.Fatalf("patch %s: no such object", what)
		}
		encoded, err := yaml.Marshal(ops)
		if err != nil {
			t.Fatal(err)
		}
		if encoded, err = yaml.YAMLToJSON(encoded); err != nil {
			t.Fatal(err)
		}
		patch, err := jsonpatch.DecodePatch(encoded)
		if err != nil {
			t.Fatal(err)
		}
		before, err := objects[at].MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		after, err := patch.Apply(before)
		if err != nil {
			t.Fatalf("patch %s: %v", what, err)
		}
		if err := objects[at].UnmarshalJSON(after); err != nil {
			t.Fatal(err)
		}
	}
	for _, what := range c.Delete {
		n := len(objects)
		if objects = slices.DeleteFunc(objects, func(o *unstructured.Unstructured) bool { return name(o) == what }); len(objects) == n {
			t.Fatalf("delete %s: no such object", what)
		}
	}
	return objects
}

func newCase(t *testing.T, parts map[string]string, ours, other *signer) *Subject {
	t.Helper()
	var c change
	f := fixture{Port: 9443, Names: []string{"holdfast.holdfast-system.svc"}, From: -24, Until: 90 * 24, Marks: []string{"patch", "warning"}}
	for name, into := range map[string]any{"change.yaml": &c, "subject.yaml": &f} {
		if err := yaml.UnmarshalStrict([]byte(parts[name]), into); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	dir := t.TempDir()
	objects := append(apply(t, f.certified(t, installation(t, ours), dir), &c), parse(t, parts["add.yaml"])...)
	hours := func(n float64) time.Time { return today.Add(time.Duration(n * float64(time.Hour))) }
	served := ours.issue(t, f.Names, hours(f.From), hours(f.Until))

	s := &Subject{
		Own: Own{Namespace: "holdfast-system", Service: "holdfast", Port: f.Port}, Now: func() time.Time { return today },
		Catalogue: injectors.NewCatalogue(injectors.Builtin()...), needed: map[string]*Line{},
		Raw: func(_ context.Context, path string) ([]byte, error) {
			switch {
			case f.Down != "":
				return nil, errors.New(f.Down)
			case path != "/version":
				return nil, apierrors.NewNotFound(schema.GroupResource{}, path)
			}
			return []byte(`{"gitVersion": "v1.36.3"}`), nil
		},
	}
	if f.About != "" {
		s.About = &Object{Name: f.About}
	}
	for code, state := range f.Needed {
		s.needed[code] = &Line{Code: code, State: state, Fix: "The fix of " + code + "."}
	}
	s.Client, s.Dynamic = f.clients(t, objects)
	s.Dial = f.dialer(t, served, other)
	s.Try = f.try
	report := &Report{Port: 9443}
	if chain, err := parseChain(served.Certificate); err == nil {
		report.Certificate = encodeChain(chain)
	}
	s.ServerReport = func(context.Context) (*Report, error) {
		if f.None {
			return nil, errors.New("pods \"holdfast-a\" is forbidden")
		}
		return report, nil
	}
	if f.Outside {
		return s
	}
	s.Server = &Server{
		Replica: "holdfast-a", Secret: "holdfast-cert", MeshNamespaces: []string{"istio-system"},
		Unread: func() (waiting, missing []string) { return f.Waiting, f.Missing },
		Certificate: func() (*tls.Certificate, error) {
			if f.None {
				return nil, errors.New("no certificate yet")
			}
			return served, nil
		},
	}
	f.files(t, s, served, map[string]*signer{"ours": ours, "other": other}, dir)
	return s
}

// files writes what --cert-dir holds.
func (f *fixture) files(t *testing.T, s *Subject, served *tls.Certificate, signers map[string]*signer, dir string) {
	t.Helper()
	if f.Files == "" {
		return
	}
	s.Server.CertDir = dir
	renewed := signers["ours"].issue(t, f.Names, today, today.AddDate(1, 0, 0))
	if ca := signers[f.CA]; ca != nil {
		if err := os.WriteFile(filepath.Join(dir, "ca.crt"), ca.bundle(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	switch f.Files {
	case "good":
		writePair(t, s.Server.CertDir, served, served)
	case "mismatched":
		writePair(t, s.Server.CertDir, served, renewed)
	case "other":
		writePair(t, s.Server.CertDir, renewed, renewed)
	case "missing":
	default:
		t.Fatalf("files: %s", f.Files)
	}
}

// certified has the Deployment read its certificate from a Secret.
func (f *fixture) certified(t *testing.T, objects []*unstructured.Unstructured, dir string) []*unstructured.Unstructured {
	t.Helper()
	if f.Mounted == "" {
		return objects
	}
	template := "/spec/template/spec/"
	c := change{Patch: map[string][]map[string]any{"Deployment/holdfast": {
		{"op": "add", "path": template + "containers/0/args/-", "value": "--cert-dir=" + dir},
		{"op": "add", "path": template + "containers/0/volumeMounts/-", "value": map[string]any{"name": "cert", "mountPath": dir, "readOnly": true}},
		{"op": "add", "path": template + "volumes/-", "value": map[string]any{"name": "cert", "secret": map[string]any{"secretName": f.Mounted}}},
	}}}
	if f.Issued {
		from := []map[string]any{{"op": "add", "path": "/metadata/annotations", "value": map[string]any{injectFrom: "holdfast-system/" + f.Mounted}}}
		c.Patch["MutatingWebhookConfiguration/0-holdfast"], c.Patch["ValidatingWebhookConfiguration/holdfast"] = from, from
		objects = append(objects, parse(t, fmt.Sprintf(`
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: %[1]s, namespace: holdfast-system}
spec: {secretName: %[1]s, dnsNames: [holdfast.holdfast-system.svc, holdfast.holdfast-system.svc.cluster.local], issuerRef: {name: holdfast-ca}}
status: {conditions: [{type: Ready, status: "True", reason: Ready, message: Certificate is up to date and has not expired}]}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: holdfast-ca, namespace: holdfast-system}
status: {conditions: [{type: Ready, status: "True", reason: KeyPairVerified, message: Signing CA verified}]}
---
apiVersion: v1
kind: Secret
metadata: {name: %[1]s, namespace: holdfast-system}
`, f.Mounted))...)
	}
	return apply(t, objects, &c)
}

// clients hold the objects; kinds that Kubernetes does not know go to the dynamic one.
func (f *fixture) clients(t *testing.T, objects []*unstructured.Unstructured) (*fake.Clientset, *dynamicfake.FakeDynamicClient) {
	t.Helper()
	var typed, others []runtime.Object
	for _, o := range objects {
		object, err := scheme.Scheme.New(o.GroupVersionKind())
		if err != nil {
			others = append(others, o)
			continue
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, object); err != nil {
			t.Fatal(err)
		}
		typed = append(typed, object)
	}
	client := fake.NewClientset(typed...)
	client.PrependReactor("*", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if slices.Contains(f.Denied, a.GetVerb()+" "+a.GetResource().Resource) {
			return true, nil, apierrors.NewForbidden(a.GetResource().GroupResource(), "", errors.New("no right"))
		}
		return false, nil, nil
	})
	client.PrependReactor("create", "selfsubjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview)
		what := ""
		if asked := review.Spec.ResourceAttributes; asked != nil {
			what = asked.Verb + " " + asked.Resource
		} else {
			what = review.Spec.NonResourceAttributes.Verb + " " + review.Spec.NonResourceAttributes.Path
		}
		review.Status.Allowed = !slices.Contains(f.Denied, what)
		return true, review, nil
	})
	kinds := map[schema.GroupVersionResource]string{
		certManagerKind("certificates"): "CertificateList", certManagerKind("certificaterequests"): "CertificateRequestList", certManagerKind("issuers"): "IssuerList",
		certManagerKind("clusterissuers"): "ClusterIssuerList",
	}
	return client, dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds, others...)
}

// dialer connects to servers that stand behind addresses.
func (f *fixture) dialer(t *testing.T, served *tls.Certificate, other *signer) func(context.Context, string) (net.Conn, error) {
	foreign := other.issue(t, f.Names, today.AddDate(0, -1, 0), today.AddDate(1, 0, 0))
	return func(ctx context.Context, at string) (net.Conn, error) {
		here, there := net.Pipe()
		context.AfterFunc(ctx, func() { _ = there.Close() })
		certificate := served
		switch f.Dial[at] {
		case "refused":
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		case "silent":
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
		case "plain":
			go func() {
				_, _ = there.Read(make([]byte, 4096))
				_, _ = there.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
				_ = there.Close()
			}()
			return here, nil
		case "other":
			certificate = foreign
		}
		go func() {
			c := tls.Server(there, &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12})
			if _, err := c.Read(make([]byte, 4096)); err == nil && f.Dial[at] != "hangs" {
				_, _ = c.Write([]byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
			}
		}()
		return here, nil
	}
}

// try is an API server that has called us.
func (f *fixture) try(_ context.Context, m *corev1.ConfigMap) (*corev1.ConfigMap, []string, error) {
	if m.Labels[config.ProbeLabel] == "" { // asked for the time
		m = m.DeepCopy()
		if f.Clock != nil {
			m.CreationTimestamp.Time = today.Add(time.Duration(*f.Clock * float64(time.Hour)))
		}
		return m, nil, nil
	}
	if f.Try != nil {
		if strings.HasPrefix(*f.Try, "forbidden") {
			return nil, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "", errors.New("no right"))
		}
		return nil, nil, apierrors.NewInternalError(errors.New(*f.Try))
	}
	m = m.DeepCopy()
	nonce := m.Annotations[config.ProbeNonceAnnotation]
	var warnings []string
	if slices.Contains(f.Marks, "patch") {
		m.Annotations[config.ProbeAnswerAnnotation] = nonce + " holdfast-a"
	}
	if slices.Contains(f.Marks, "warning") {
		warnings = []string{"something else", config.ProbeWarning + nonce + " holdfast-b"}
	}
	return m, warnings, nil
}
