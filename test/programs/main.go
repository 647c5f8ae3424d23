// Command programs builds what the tests run beside Holdfast (etcd, kube-apiserver, kube-controller-manager, kubectl, istiod,
// cert-manager), where that has not been done yet, and says how far it is.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"holdfast.dev/holdfast/test/controlplane"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	_, err := controlplane.Build(ctx, os.Stderr)
	if err == nil {
		_, err = controlplane.BuildCertManager(ctx, os.Stderr)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
