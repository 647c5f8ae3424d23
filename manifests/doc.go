// Package manifests holds the objects that install Holdfast, as kustomize reads them, and the tests that render them.
package manifests
