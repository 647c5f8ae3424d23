package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	"holdfast.dev/holdfast/diagnose"
	"holdfast.dev/holdfast/manifests"
)

// webhooksFlags are the flags of webhooks.
type webhooksFlags struct {
	kubeconfig         string
	namespace, service string
	optIn, reset       bool
}

// The kinds, to print one of them alone.
const mutatingOnly, validatingOnly = "mutating", "validating"

func newWebhooks() *cobra.Command {
	f := &webhooksFlags{}
	c := &cobra.Command{
		Use:   "webhooks [mutating|validating]",
		Short: "Prints the webhook configurations of an installation, to apply them again",
		Long: `Prints the two webhook configurations as this version ships them, for the installation in the cluster: with its namespace, Service and
prefix, and what the one that is still there says (which namespaces are seen, failurePolicy, whose CA). It is what to apply where one of
them was deleted, or lost entries, and the manifests are not at hand. A configuration that is there stays as it is, but for the entries that
it lacks; --reset writes all of it as shipped. It changes nothing itself.`,
		Example: `  holdfast webhooks mutating | kubectl apply -f -
  holdfast webhooks | kubectl diff -f -
  kubectl -n holdfast-system exec deploy/holdfast -- /holdfast webhooks | kubectl apply -f -`,
		ValidArgs: []string{mutatingOnly, validatingOnly},
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 || len(args) == 1 && !slices.Contains(c.ValidArgs, args[0]) {
				return usage(c, fmt.Errorf("argument %q: must be %s or %s, or none", strings.Join(args, " "), mutatingOnly, validatingOnly))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args) },
	}
	flags := c.Flags()
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file; empty: $KUBECONFIG, ~/.kube/config, or the pod's service account")
	flags.StringVarP(&f.namespace, "namespace", "n", "", "namespace of Holdfast (default: where its webhook configurations lead)")
	flags.StringVar(&f.service, "service-name", "", "Service of Holdfast (default: the one that its webhook configurations call)")
	flags.BoolVar(&f.reset, "reset", false, "as shipped, also where the configuration is there: what was changed in it is lost")
	flags.BoolVar(&f.optIn, "opt-in", false, "namespaces without the label holdfast.dev/mode are not seen: for a configuration that is made anew (default: as in the other one)")
	return c
}

func (f *webhooksFlags) run(c *cobra.Command, only []string) error {
	cluster, err := clusterConfig(f.kubeconfig)
	if err != nil {
		return err
	}
	s, err := diagnose.Connect(cluster, diagnose.Own{Namespace: ownNamespace(cluster, f.namespace), Service: f.service}, time.Now) //nolint:forbidigo // where the clock comes in
	if err != nil {
		return err
	}
	if s.Own, err = s.Locate(c.Context()); err != nil {
		return err
	}
	installation, from, err := s.Installation(c.Context())
	if err != nil {
		return err
	}
	if c.Flags().Changed("opt-in") {
		installation.OptIn = f.optIn
	}
	if from == "" {
		sees := "every namespace but those labelled holdfast.dev/mode=off (--opt-in: only those with the label)"
		if installation.OptIn {
			sees = "only namespaces with the label holdfast.dev/mode"
		}
		fmt.Fprintf(c.ErrOrStderr(), "no webhook configuration that calls Service %s/%s is left to go by: these see %s, and have failurePolicy Ignore\n", installation.Namespace, installation.Service, sees)
	}
	m, v, err := s.Webhooks(c.Context(), installation)
	if f.reset {
		m, v, err = manifests.Webhooks(installation)
	}
	if err != nil {
		return err
	}
	m.APIVersion, m.Kind = admissionregistrationv1.SchemeGroupVersion.String(), "MutatingWebhookConfiguration"
	v.APIVersion, v.Kind = admissionregistrationv1.SchemeGroupVersion.String(), "ValidatingWebhookConfiguration"
	objects := []any{m, v}
	switch {
	case slices.Contains(only, mutatingOnly):
		objects = objects[:1]
	case slices.Contains(only, validatingOnly):
		objects = objects[1:]
	}
	return printObjects(c.OutOrStdout(), objects)
}

// printObjects prints them as one stream for kubectl.
func printObjects(out io.Writer, objects []any) error {
	for k, object := range objects {
		text, err := yaml.Marshal(object)
		if err != nil {
			return fmt.Errorf("print a webhook configuration: %w", err)
		}
		if k > 0 {
			text = append([]byte("---\n"), text...)
		}
		if _, err := out.Write(text); err != nil {
			return err
		}
	}
	return nil
}
