package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"holdfast.dev/holdfast/diagnose"
	"holdfast.dev/holdfast/manifests"
)

// webhooksFlags are the flags of webhooks.
type webhooksFlags struct {
	kubeconfig         string
	namespace, service string
	optIn              bool
}

func newWebhooks() *cobra.Command {
	f := &webhooksFlags{}
	c := &cobra.Command{
		Use:   "webhooks",
		Short: "Prints the webhook configurations of an installation, to apply them again",
		Long: `Prints the two webhook configurations as this version ships them, for the installation in the cluster: with its namespace, Service and
prefix, and what the configuration that is still there says (which namespaces it sees, failurePolicy, whose CA). It is what to apply
where one of them was deleted or spoilt, and the manifests are not at hand. It changes nothing.`,
		Example: `  holdfast webhooks | kubectl apply -f -
  holdfast webhooks | kubectl diff -f -
  kubectl -n holdfast-system exec deploy/holdfast -- /holdfast webhooks | kubectl apply -f -`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	flags := c.Flags()
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file; empty: $KUBECONFIG, ~/.kube/config, or the pod's service account")
	flags.StringVarP(&f.namespace, "namespace", "n", "", "namespace of Holdfast (default: where its webhook configurations lead)")
	flags.StringVar(&f.service, "service-name", "", "Service of Holdfast (default: the one that its webhook configurations call)")
	flags.BoolVar(&f.optIn, "opt-in", false, "namespaces without the label holdfast.dev/mode are not seen (default: as in the configuration that is there)")
	return c
}

func (f *webhooksFlags) run(c *cobra.Command) error {
	cluster, err := clusterConfig(f.kubeconfig)
	if err != nil {
		return err
	}
	s, err := diagnose.Connect(cluster, diagnose.Own{Namespace: f.namespace, Service: f.service}, time.Now) //nolint:forbidigo // where the clock comes in
	if err != nil {
		return err
	}
	s.Own = s.Locate(c.Context())
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
		fmt.Fprintf(c.ErrOrStderr(), "no webhook configuration that calls Service %s/%s is left to go by; these see %s\n", installation.Namespace, installation.Service, sees)
	}
	m, v, err := manifests.Webhooks(installation)
	if err != nil {
		return err
	}
	m.APIVersion, m.Kind = admissionregistrationv1.SchemeGroupVersion.String(), "MutatingWebhookConfiguration"
	v.APIVersion, v.Kind = admissionregistrationv1.SchemeGroupVersion.String(), "ValidatingWebhookConfiguration"
	for k, object := range []any{m, v} {
		text, err := yaml.Marshal(object)
		if err != nil {
			return fmt.Errorf("print a webhook configuration: %w", err)
		}
		if k > 0 {
			text = append([]byte("---\n"), text...)
		}
		if _, err := c.OutOrStdout().Write(text); err != nil {
			return err
		}
	}
	return nil
}
