// Command render prints the objects of Istio's own charts, in the version this module pins, or of a chart in a folder, as YAML
// documents:
//
//	render --release istiod --namespace istio-system --values values.yaml
//	render --crds
//	render --chart FOLDER --release NAME --namespace NAMESPACE
//
// It renders as helm template does, without a cluster. Istio's charts are embedded, so the binary needs no folder beside it.
package main

import (
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"istio.io/istio/manifests"
)

// Where the charts lie in the file system that Istio embeds.
const (
	discoveryChart = "charts/istio-control/istio-discovery"
	crdFile        = "charts/base/files/crd-all.gen.yaml"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "render:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("render", flag.ContinueOnError)
	crds := flags.Bool("crds", false, "print the CustomResourceDefinitions instead of the istio-discovery chart")
	folder := flags.String("chart", "", "folder of a chart to print instead of the istio-discovery chart")
	release := flags.String("release", "istiod", "name of the Helm release")
	namespace := flags.String("namespace", "istio-system", "namespace of the Helm release")
	values := flags.String("values", "", "file with values; the chart's defaults alone when empty")
	kubeVersion := flags.String("kube-version", "v1.36.0", "version of Kubernetes that the templates see")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *crds {
		return printCRDs(out)
	}
	options := common.ReleaseOptions{Name: *release, Namespace: *namespace, Revision: 1, IsInstall: true}
	files, err := chartFiles(manifests.FS, discoveryChart)
	if *folder != "" {
		files, err = chartFiles(os.DirFS(*folder), ".")
	}
	if err != nil {
		return fmt.Errorf("read the chart: %w", err)
	}
	return printChart(out, files, options, *values, *kubeVersion)
}

func printCRDs(out io.Writer) error {
	data, err := manifests.FS.ReadFile(crdFile)
	if err != nil {
		return fmt.Errorf("read CRDs: %w", err)
	}
	_, err = out.Write(data)
	return err
}

// printChart prints the templates in the order of their file names, each under a comment that names it.
func printChart(out io.Writer, files []*archive.BufferedFile, options common.ReleaseOptions, valuesFile, kubeVersion string) error {
	chart, err := loader.LoadFiles(files)
	if err != nil {
		return fmt.Errorf("load the chart: %w", err)
	}

	values := common.Values{}
	if valuesFile != "" {
		if values, err = common.ReadValuesFile(valuesFile); err != nil {
			return fmt.Errorf("read values %s: %w", valuesFile, err)
		}
	}
	capabilities := common.DefaultCapabilities.Copy()
	version, err := common.ParseKubeVersion(kubeVersion)
	if err != nil {
		return fmt.Errorf("parse --kube-version %q: %w", kubeVersion, err)
	}
	capabilities.KubeVersion = *version

	merged, err := util.ToRenderValues(chart, values, options, capabilities)
	if err != nil {
		return fmt.Errorf("merge values: %w", err)
	}
	rendered, err := engine.Render(chart, merged)
	if err != nil {
		return fmt.Errorf("render chart %s: %w", chart.Name(), err)
	}

	names := make([]string, 0, len(rendered))
	for name := range rendered {
		if path.Ext(name) == ".yaml" && strings.TrimSpace(rendered[name]) != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if _, err := fmt.Fprintf(out, "---\n# Source: %s\n%s\n", name, strings.TrimSpace(rendered[name])); err != nil {
			return err
		}
	}
	return nil
}

// chartFiles reads every file below root, with names relative to it, as the chart loader wants them.
func chartFiles(fsys fs.FS, root string) ([]*archive.BufferedFile, error) {
	var files []*archive.BufferedFile
	err := fs.WalkDir(fsys, root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		files = append(files, &archive.BufferedFile{Name: strings.TrimPrefix(name, root+"/"), Data: data})
		return nil
	})
	return files, err
}
