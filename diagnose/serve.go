package diagnose

import (
	"context"
	"net/http"
	"time"
)

const (
	// fresh is how old the answers may be that /diagnosis?fresh gives: asking is not for free.
	fresh = 5 * time.Second
	// freshPatience is how long such a request waits before it takes what is there.
	freshPatience = 4 * time.Second
)

// ServeHTTP answers with the last report as JSON; with the parameter fresh it asks the probes first, and waits for them a
// little.
func (w *Watch) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	if in.Method != http.MethodGet && in.Method != http.MethodHead {
		http.Error(out, "GET only", http.StatusMethodNotAllowed)
		return
	}
	if w.Quiet || in.URL.Query().Has("fresh") {
		w.refresh(in.Context())
	}
	r := w.last.Load()
	if r == nil {
		http.Error(out, "the probes have not been asked yet", http.StatusServiceUnavailable)
		return
	}
	out.Header().Set("Content-Type", "application/json")
	if err := indented(out, r); err != nil {
		w.log.V(1).Info("the report was not written", "reason", err.Error())
	}
}

// refresh asks the probes, unless somebody has just done so. The run goes on after whoever asked for it has left.
func (w *Watch) refresh(ctx context.Context) {
	done := make(chan struct{})
	life := context.WithoutCancel(ctx)
	go func() {
		defer close(done)
		if !w.asking.TryLock() { // the run that is going on will do
			w.asking.Lock()
			w.asking.Unlock() //nolint:staticcheck // it was waited for, no more
			return
		}
		defer w.asking.Unlock()
		if r := w.last.Load(); r == nil || w.subject.Now().Sub(r.Began) > fresh {
			if r = w.ask(life); w.told != nil { // else the start is not over
				w.tell(life, r)
			}
		}
	}()
	patience := time.NewTimer(freshPatience)
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
	case <-ctx.Done():
	}
}
