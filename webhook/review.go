package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
	kjson "sigs.k8s.io/json"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
)

// reader is what a review asks the cluster.
type reader interface {
	Namespace(ctx context.Context, name string) (*injectors.Namespace, error)
	Service(namespace, name string) (injectors.Service, bool)
	ServicesIn(namespace string) iter.Seq[injectors.Service]
	Webhooks(namespace string) []injectors.WebhookService
}

// reviewer answers admission requests. It holds no state: every request stands for itself.
type reviewer struct {
	log     logr.Logger
	cluster reader
	config  *config.Config
	env     *injectors.Env
	audit   bool   // the whole server only watches
	own     string // our namespace, which we leave alone
	metrics *metrics
	now     func() time.Time
}

func newReviewer(log logr.Logger, cluster reader, c *config.Config, catalogue *injectors.Catalogue, audit bool, own string, m *metrics, now func() time.Time) *reviewer {
	return &reviewer{
		log: log, cluster: cluster, config: c, audit: audit, own: own, metrics: m, now: now,
		env: &injectors.Env{
			Catalogue: catalogue, Services: cluster.Service, ServicesIn: cluster.ServicesIn, Webhooks: cluster.Webhooks,
			Addresses: c.Addresses(), InitNetwork: c.KnownInits(), Now: now,
		},
	}
}

// subject is what one request is about.
type subject struct {
	target *injectors.Target
	mode   config.Mode
	update bool
}

// handle wraps one of the two handlers: it measures, opens the request and never lets a fault of ours refuse an object.
func (r *reviewer) handle(path string, answer func(*subject, *admission.Request) admission.Response) admission.Handler {
	duration := r.metrics.duration.WithLabelValues(path)
	return admission.HandlerFunc(func(ctx context.Context, req admission.Request) (out admission.Response) {
		began := r.now()
		defer func() {
			if fault := recover(); fault != nil {
				// The stack names functions, not what they were given.
				r.log.Error(fmt.Errorf("panic in %s: %T", path, fault), "admitted unjudged", "namespace", req.Namespace, "stack", string(debug.Stack()))
				r.metrics.failures.WithLabelValues(failedPanic).Inc()
				out = allow()
			}
			duration.Observe(r.now().Sub(began).Seconds())
		}()
		s, err := r.open(ctx, &req)
		if err != nil {
			return r.unjudged(path, &req, err)
		}
		if s == nil || s.mode == config.Off {
			return allow()
		}
		return answer(s, &req)
	})
}

// unjudged lets an object pass that could not be looked at.
func (r *reviewer) unjudged(path string, req *admission.Request, err error) admission.Response {
	reason := failedDecode
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		reason = failedDeadline
	}
	r.metrics.failures.WithLabelValues(reason).Inc()
	r.log.Error(err, "admitted unjudged", "namespace", req.Namespace, "kind", req.Kind.Kind)
	out := allow()
	if path == ValidatePath {
		out.Warnings = []string{"holdfast did not judge this " + req.Kind.Kind + ": " + err.Error()}
	}
	return out
}

// open finds out what a request is about. Nothing (and no error) means that it is none of our business.
func (r *reviewer) open(ctx context.Context, req *admission.Request) (*subject, error) {
	object := relevant(req)
	if object == nil || req.Namespace == r.own {
		return nil, nil
	}
	if err := decode(req.Object.Raw, object); err != nil {
		return nil, fmt.Errorf("decode %s: %w", req.Kind.Kind, err)
	}
	meta, ok := object.(metav1.Object)
	if !ok || meta.GetDeletionTimestamp() != nil {
		return nil, nil
	}
	pod, isPod := object.(*corev1.Pod)
	if !isPod && metav1.GetControllerOfNoCopy(meta) != nil {
		return nil, nil // judged through its owner; a change here would be undone or done over for ever
	}
	s := &subject{update: req.Operation == admissionv1.Update}
	if s.update {
		if same, err := sameTemplate(object, req.OldObject.Raw, relevant(req)); same || err != nil {
			return nil, err
		}
	}
	namespace, err := r.cluster.Namespace(ctx, req.Namespace)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("answer in time: %w", ctx.Err())
	}
	if err != nil {
		r.log.Error(err, "mode unknown, counts as audit", "namespace", req.Namespace)
		namespace, s.mode = &injectors.Namespace{Name: req.Namespace}, config.Audit
	} else {
		s.mode = r.mode(namespace)
	}
	if s.mode == config.Off {
		return nil, nil
	}
	if isPod {
		s.target = injectors.PodTarget(pod, namespace)
		return s, nil
	}
	s.target, err = injectors.WorkloadTarget(object.(runtime.Object), namespace) //nolint:forcetypeassert // every object of relevant is one
	return s, err
}

// mode returns what is done in a namespace. A label that is no mode counts as audit; a rule says so.
func (r *reviewer) mode(n *injectors.Namespace) config.Mode {
	m, _ := r.config.ModeOf(n)
	if r.audit && m > config.Audit {
		return config.Audit
	}
	return m
}

// relevant returns an empty object of the requested kind, nil for what passes unseen: anything but the creation of pods and
// workloads and the update of workloads. A Job's template cannot change.
func relevant(req *admission.Request) any {
	if req.SubResource != "" {
		return nil
	}
	update := req.Operation == admissionv1.Update
	if req.Operation != admissionv1.Create && !update {
		return nil
	}
	switch req.Resource.Group + "/" + req.Resource.Resource {
	case "/pods":
		if update {
			return nil
		}
		return &corev1.Pod{}
	case "/replicationcontrollers":
		return &corev1.ReplicationController{}
	case "apps/deployments":
		return &appsv1.Deployment{}
	case "apps/statefulsets":
		return &appsv1.StatefulSet{}
	case "apps/daemonsets":
		return &appsv1.DaemonSet{}
	case "apps/replicasets":
		return &appsv1.ReplicaSet{}
	case "batch/jobs":
		if update {
			return nil
		}
		return &batchv1.Job{}
	case "batch/cronjobs":
		return &batchv1.CronJob{}
	}
	return nil
}

// decode reads an object, for looking only: what is read is never written back. Keys count in their case, as the API
// server reads them. Errors hold no values of the object.
func decode(raw []byte, into any) error {
	err := kjson.UnmarshalCaseSensitivePreserveInts(raw, into)
	if err == nil {
		return nil
	}
	if mistyped := (*json.UnmarshalTypeError)(nil); errors.As(err, &mistyped) {
		return fmt.Errorf("field %s is no %s", mistyped.Field, mistyped.Type)
	}
	return fmt.Errorf("not the expected JSON (%T)", err)
}

// sameTemplate tells whether an update leaves the template as it was. old is an empty object to decode into.
func sameTemplate(object any, oldRaw []byte, old any) (bool, error) {
	if err := decode(oldRaw, old); err != nil {
		return false, fmt.Errorf("decode the old object: %w", err)
	}
	var none injectors.Namespace
	a, errA := injectors.WorkloadTarget(object.(runtime.Object), &none) //nolint:forcetypeassert // every object of relevant is one
	b, errB := injectors.WorkloadTarget(old.(runtime.Object), &none)    //nolint:forcetypeassert // same
	if err := errors.Join(errA, errB); err != nil {
		return false, err
	}
	return equality.Semantic.DeepEqual(a.Spec, b.Spec) && equality.Semantic.DeepEqual(a.Meta, b.Meta), nil
}
