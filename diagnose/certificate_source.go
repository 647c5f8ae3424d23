package diagnose

import (
	"cmp"
	"context"
	"strconv"
	"strings"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// origin is where the certificate comes from, as far as the Deployment and cert-manager's objects tell. Its zero value tells
// nothing.
type origin struct {
	deployment *appsv1.Deployment // nil where none has the argument
	container  int                // whose arguments have --cert-dir
	at, words  int                // where in them, and how many
	dir        string
	secret     string // that is mounted there
	// certificate is cert-manager's, which writes the Secret.
	certificate *certmanager.Certificate
}

// origin looks it up.
func (s *Subject) origin(ctx context.Context) *origin {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	o := &origin{}
	d, err := s.deployment(ctx)
	if err == nil && d != nil {
		o.read(d)
	}
	if s.Server != nil && o.dir != s.Server.CertDir && s.Server.CertDir != "" { // the server was started by somebody else
		o = &origin{dir: s.Server.CertDir}
	}
	o.certificate = s.certificateOf(ctx, o.secret)
	return o
}

// read finds the argument, and the Secret behind it.
func (o *origin) read(d *appsv1.Deployment) {
	spec := &d.Spec.Template.Spec
	for i := range spec.Containers {
		c := &spec.Containers[i]
		value, at, words := argument(c.Args, "--cert-dir")
		if words == 0 {
			continue
		}
		o.deployment, o.container, o.at, o.words, o.dir = d, i, at, words, value
		if v := volumeAt(spec, c, value); v != nil && v.Secret != nil {
			o.secret = v.Secret.SecretName
		}
		return
	}
}

// injectedFrom is the Certificate, NAMESPACE/NAME, whose CA our configurations ask cert-manager for; "" where they do not.
func (s *Subject) injectedFrom(ctx context.Context) string {
	entries, err := s.ourEntries(ctx)
	if err != nil {
		return ""
	}
	for _, e := range entries {
		if from := e.Annotations[injectFrom]; from != "" {
			return from
		}
	}
	return ""
}

// ownedBy says who has changed the Deployment last, and who keeps it; "" where nobody does.
func (s *Subject) ownedBy(o *origin) string {
	if o.deployment == nil {
		return ""
	}
	return s.owned(o.deployment)
}

// where names the Secret, as far as it is known.
func (o *origin) where() string {
	if o.secret == "" {
		return o.dir
	}
	return "Secret " + o.secret
}

// itself is what Holdfast's own certificate is good for.
const itself = "et Holdfast make its own certificate, which it also renews, and whose CA it puts into the configurations (a copy of the Deployment stays in this directory; its pods are replaced within a minute):"

// anew is how another certificate comes into the place of one that is of no use.
func (s *Subject) anew(ctx context.Context, o *origin) string {
	host := strings.Join(s.hosts(ctx), ", ")
	if c := o.certificate; c != nil {
		return steps(
			s.renew(ctx, c, "Have cert-manager issue it again:"),
			"Holdfast reads the new one by itself within two minutes, and no restart is needed.",
			"If none comes, the reason is here:",
			s.look(c), "kubectl get pods -A -l "+nameLabel+"="+issuing,
			s.instead(ctx),
			cmp.Or(kept(c.Labels, c.Annotations), s.ownedBy(o)),
		)
	}
	itself := s.makeItself(ctx, o, "L"+itself)
	if itself == "" {
		itself = "Put a certificate for " + host + " and its own key into " + o.dir + " as tls.crt and tls.key, where no Deployment tells what is mounted: Holdfast reads them again by itself."
	}
	return steps(itself, s.byHand(o, host), s.ownedBy(o))
}

// renew has cert-manager issue a certificate again: by itself, where it did not run.
func (s *Subject) renew(ctx context.Context, c *certmanager.Certificate, why string) string {
	if renewer := s.idle(ctx, issuing); renewer != nil {
		return steps("By itself cert-manager would issue it again, but "+renewer.what()+".", renewer.fix())
	}
	if again := s.reissue(c, why); again != "" {
		return again
	}
	return steps("See whether cert-manager runs, and why it has not looked at Certificate "+c.Namespace+"/"+c.Name+" yet:", "kubectl get deployments,pods -A -l "+nameLabel+"="+issuing)
}

// resting says so where cert-manager issues nothing, with what to do about it; "" where it does.
func (s *Subject) resting(ctx context.Context) string {
	renewer := s.idle(ctx, issuing)
	if renewer == nil {
		return ""
	}
	return steps("Nothing is issued now, for "+renewer.what()+".", renewer.fix())
}

// byHand puts a pair from files into the Secret; "" where it is not known.
func (s *Subject) byHand(o *origin, host string) string {
	if o.secret == "" {
		return ""
	}
	return steps("If you have a good pair at hand (tls.crt and tls.key, for "+host+"), put it into Secret "+o.secret+" instead; then ask again, for its CA has to be in the configurations:",
		"crt=$(base64 < tls.crt | tr -d '\\n')", "key=$(base64 < tls.key | tr -d '\\n')",
		`test -n "$crt" && test -n "$key" && `+s.kubectl()+" patch secret "+o.secret+` --type=merge -p '{"data":{"tls.crt":"'"$crt"'","tls.key":"'"$key"'"}}'`)
}

// makeItself takes --cert-dir, and what is mounted there, from the Deployment. "" where it has none.
func (s *Subject) makeItself(ctx context.Context, o *origin, why string) string {
	if o.deployment == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	keeps, _, words := argument(o.deployment.Spec.Template.Spec.Containers[o.container].Args, "--cert-secret")
	if words == 0 {
		keeps = "holdfast-cert"
	}
	lines := []string{why, s.aside("deployment", o.deployment.Name)}
	if _, err := s.Client.CoreV1().Secrets(s.Own.Namespace).Get(ctx, keeps, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		lines = append(lines, s.kubectl()+" create secret generic "+keeps)
	}
	if s.injectedFrom(ctx) != "" { // cert-manager's cainjector would put its own CA back
		_, commands, _ := strings.Cut(s.dropAnnotation(ctx), "\n")
		lines = append(lines, commands)
	}
	return steps(append(lines, s.kubectl()+" patch deployment "+o.deployment.Name+" --type=json -p '"+encode(o.without())+"'")...)
}

// without takes the argument, the mount and the volume away, the last of a list first.
func (o *origin) without() []op {
	spec := &o.deployment.Spec.Template.Spec
	c := &spec.Containers[o.container]
	container := "/spec/template/spec/containers/" + strconv.Itoa(o.container)
	var ops []op
	for i := o.words - 1; i >= 0; i-- {
		at := container + "/args/" + strconv.Itoa(o.at+i)
		ops = append(ops, op{"test", at, c.Args[o.at+i]}, op{Op: "remove", Path: at})
	}
	m := mountOf(&o.deployment.Spec.Template.Spec.Containers[o.container], o.dir)
	if m < 0 {
		return ops
	}
	name, at := c.VolumeMounts[m].Name, container+"/volumeMounts/"+strconv.Itoa(m)
	ops = append(ops, op{"test", at + "/name", name}, op{Op: "remove", Path: at})
	if v := unused(spec, name, m, o.container); v >= 0 {
		at := "/spec/template/spec/volumes/" + strconv.Itoa(v)
		ops = append(ops, op{"test", at + "/name", name}, op{Op: "remove", Path: at})
	}
	return ops
}

// unused is the index of a volume that nothing but one mount uses, -1 where something else does.
func unused(spec *corev1.PodSpec, name string, mount, container int) int {
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			for k, m := range list[i].VolumeMounts {
				if m.Name == name && (k != mount || &list[i] != &spec.Containers[container]) {
					return -1
				}
			}
		}
	}
	for i := range spec.Volumes {
		if spec.Volumes[i].Name == name {
			return i
		}
	}
	return -1
}
