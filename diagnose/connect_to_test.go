package diagnose

import (
	"context"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestConnectTo: a name that is not known, a port that nobody serves and a connection that is dropped are told apart.
func TestConnectTo(t *testing.T) {
	t.Parallel()
	unknownName := &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}}
	tests := []struct {
		name, at string
		err      error
		want     string // words of message or fix
	}{
		{"no port", "db.example.com", nil, "Give it as HOST:PORT."},
		{"no such name", "db.example.com:5432", unknownName, "Check the spelling of db.example.com"},
		{"no such Service", "db.shop.svc:5432", unknownName, "kubectl -n shop get service db"},
		{"no such Service, in full", "db.shop.svc.cluster.local:5432", unknownName, "kubectl -n shop get service db"},
		{"refused", "db.example.com:5432", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "Start what should listen at port 5432 of db.example.com."},
		{"dropped", "db.example.com:5432", os.ErrDeadlineExceeded, "Open port 5432 of db.example.com"},
		{"anything else", "db.example.com:5432", &net.OpError{Op: "dial", Err: syscall.ENETUNREACH}, "See whether there is a route from here"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := &Subject{About: &Object{Name: test.at}, Dial: func(context.Context, string) (net.Conn, error) { return nil, test.err }}
			p := connectTo()
			r := p.ask(t.Context(), s)
			checkFix(t, &r)
			if got := r.Message + "\n" + r.Fix; r.State != Failed || !strings.Contains(got, test.want) {
				t.Errorf("got %s %q, want failed with %q", r.State, got, test.want)
			}
		})
	}
}
