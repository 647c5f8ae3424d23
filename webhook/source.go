package webhook

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	toolscache "k8s.io/client-go/tools/cache"
)

// source is one informer, with what keeps it from reading. A right that is missing never blocks: the source is then named
// as missing, and asks again until the right is there.
type source struct {
	name     string // as people know it: "nodes", "ConfigMaps in istio-system"
	informer toolscache.SharedIndexInformer
	denied   atomic.Pointer[denial]
}

// denial is the API server's refusal to let an informer read.
type denial struct {
	why     string
	synced  bool   // the informer had read everything before
	version string // what it had read last
}

// newSource wires an informer up: strip reduces its objects before they are kept; onChange is called when one came, went,
// or changed as differs sees it, and when the right to read was lost.
func newSource(log logr.Logger, name string, informer toolscache.SharedIndexInformer, strip toolscache.TransformFunc, differs func(a, b any) bool, onChange func()) (*source, error) {
	s := &source{name: name, informer: informer}
	if err := informer.SetTransform(strip); err != nil {
		return nil, err
	}
	if err := informer.SetWatchErrorHandlerWithContext(s.failed(log, onChange)); err != nil {
		return nil, err
	}
	_, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { onChange() },
		UpdateFunc: func(before, after any) {
			if differs(before, after) {
				onChange()
			}
		},
		DeleteFunc: func(any) { onChange() },
	})
	return s, err
}

func (s *source) failed(log logr.Logger, onChange func()) toolscache.WatchErrorHandlerWithContext {
	return func(ctx context.Context, r *toolscache.Reflector, err error) {
		why := refused(err)
		if why == "" {
			toolscache.DefaultWatchErrorHandler(ctx, r, err)
			return
		}
		was := s.denied.Swap(&denial{why: why, synced: s.informer.HasSynced(), version: s.informer.LastSyncResourceVersion()})
		if was == nil || was.why != why {
			log.Info("a source cannot be read, what depends on it is unknown", "source", s.name, "reason", why)
			onChange()
		}
	}
}

// refused says in a word how the API server refused to let us read, "" for faults that pass by themselves.
func refused(err error) string {
	switch {
	case apierrors.IsForbidden(err):
		return "forbidden"
	case apierrors.IsUnauthorized(err):
		return "unauthorized"
	case apierrors.IsNotFound(err):
		return "not served"
	}
	return ""
}

// leaving is how long the end of an informer is waited for. Where the API server cannot be reached, client-go sleeps out its
// pause between two tries, half a minute and more, whatever the context says.
const leaving = time.Second

// run keeps the source up to date until the context ends. It calls onSync once everything was read for the first time.
func (s *source) run(ctx context.Context, onSync func()) {
	go func() {
		select {
		case <-s.informer.HasSyncedChecker().Done():
			onSync()
		case <-ctx.Done():
		}
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.informer.RunWithContext(ctx)
	}()
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	patience := time.NewTimer(leaving)
	defer patience.Stop()
	select {
	case <-ended:
	case <-patience.C:
	}
}

// missing names the source and the reason while it cannot be read, else it is "".
func (s *source) missing() string {
	d := s.denied.Load()
	if d == nil {
		return ""
	}
	if s.informer.HasSynced() && (!d.synced || d.version != s.informer.LastSyncResourceVersion()) {
		s.denied.CompareAndSwap(d, nil)
		return ""
	}
	return s.name + ": " + d.why
}

// settled tells that the source has read everything, or is not allowed to.
func (s *source) settled() bool { return s.informer.HasSynced() || s.denied.Load() != nil }

// list returns what the source has read; the objects are shared and never written.
func list[T any](s *source) []T {
	items := s.informer.GetStore().List()
	out := make([]T, 0, len(items))
	for _, item := range items {
		if t, ok := item.(T); ok {
			out = append(out, t)
		}
	}
	return out
}

// in returns what the source has read of one namespace; it must be indexed so.
func in[T any](s *source, namespace string) []T {
	items, err := s.informer.GetIndexer().ByIndex(toolscache.NamespaceIndex, namespace)
	if err != nil { // no such index: a fault of ours, which a test would show
		return nil
	}
	out := make([]T, 0, len(items))
	for _, item := range items {
		if t, ok := item.(T); ok {
			out = append(out, t)
		}
	}
	return out
}

// get returns one object of the source by its key: namespace/name, or name.
func get[T any](s *source, key string) (T, bool) {
	var none T
	item, ok, err := s.informer.GetStore().GetByKey(key)
	if err != nil || !ok {
		return none, false
	}
	t, ok := item.(T)
	return t, ok
}
