package web

import "net/http"

// routes is the table: all that this API does, and what it asks of a caller. It stays one, as long as it gets.
func (s *server) routes() []route {
	const app = "/apps/{app}"
	const oneBuild = app + "/builds/{build}"
	const oneHook = app + "/hooks/{hook}"
	const oneWebhook = app + "/webhooks/{webhook}"
	const oneOutgoing = app + "/webhook-deliveries/{delivery}"
	const oneSetup = "/app-setups/{setup}"
	const oneRun = app + "/runs/{run}"
	const oneStatus = app + "/statuses/{delivery}"
	status := http.StatusOK
	made := http.StatusCreated
	return append(s.nothings(), []route{
		{"GET", "/account", bearer, "The user of the token, and the token.", give(status, s.account)},
		{"GET", "/account/tokens", manageAll, "The user's tokens.", give(status, s.tokens)},
		{"POST", "/account/tokens", manageAll, "Make a token, which may not do more than the one that asks.", take(made, s.createToken)},
		{"DELETE", "/account/tokens/{id}", manageAll, "End a token for ever.", give(status, s.revokeToken)},
		{"GET", "/account/keys", manageAll, "The user's SSH keys.", give(status, s.keys)},
		{"POST", "/account/keys", manageAll, "Add an SSH key, for pushes and fetches; of one app where that is named.", take(made, s.addKey)},
		{"GET", "/account/keys/{id}", manageAll, "An SSH key, by id or fingerprint.", give(status, s.key)},
		{"DELETE", "/account/keys/{id}", manageAll, "Forget an SSH key.", give(status, s.removeKey)},
		{"GET", "/account/git-credentials", manageAll, "The git hosts that the user has credentials for: private templates are read with them.", give(status, s.gitHosts)},
		{"PUT", "/account/git-credentials/{host}", manageAll, "Set the user's credentials for a git host.", take(status, s.putGit)},
		{"DELETE", "/account/git-credentials/{host}", manageAll, "Forget the user's credentials for a git host.", give(status, s.deleteGit)},
		{"GET", "/users", admin, "All users.", give(status, s.users)},
		{"POST", "/users", admin, "Make a user, with a first token.", take(made, s.createUser)},
		{"GET", "/users/{name}", admin, "A user, by name or id.", give(status, s.user)},
		{"DELETE", "/users/{name}", admin, "Delete a user with their tokens; not one who owns apps, nor the last administrator.", give(status, s.deleteUser)},

		{"GET", "/apps", read, "The apps that the token sees.", give(status, s.apps)},
		{"GET", "/users/~/apps", read, "The apps that the token sees.", give(status, s.apps)},
		{"POST", "/apps", manageAll, "Make an app.", take(made, s.createApp)},
		{"GET", app, read, "An app, by name or id, as below everywhere.", give(status, s.app)},
		{"PATCH", app, config, "Change an app's settings; its name needs the scope manage.", take(status, s.changeApp)},
		{"DELETE", app, manage, "Delete an app with its builds, releases, images and secrets.", give(status, s.deleteApp)},
		{"GET", app + "/config-vars", config, "The config vars.", give(status, s.configVars)},
		{"PATCH", app + "/config-vars", config, "Set config vars, and remove those that are null; all or none.", take(status, s.changeConfigVars)},
		{"GET", app + "/buildpack-installations", read, "The buildpacks that the app has chosen; none: the builder's order.", give(status, s.installations)},
		{"PUT", app + "/buildpack-installations", config, "Choose all buildpacks of the app; none: the builder's order.", take(status, s.putInstallations)},
		{"GET", app + "/collaborators", read, "The app's owner.", give(status, s.collaborators)},
		{"GET", app + "/bindings", config, "The service bindings, without what their files contain.", give(status, s.bindings)},
		{"PUT", app + "/bindings/{name}", config, "Make or replace a service binding.", take(status, s.putBinding)},
		{"DELETE", app + "/bindings/{name}", config, "Remove a service binding.", give(status, s.deleteBinding)},
		{"GET", app + "/git-credentials", config, "The git hosts that the app has credentials for.", give(status, s.gitHosts)},
		{"PUT", app + "/git-credentials/{host}", config, "Set the credentials for a git host.", take(status, s.putGit)},
		{"DELETE", app + "/git-credentials/{host}", config, "Forget the credentials for a git host.", give(status, s.deleteGit)},
		{"GET", app + "/registry-credentials", config, "The registries that the app has credentials for.", give(status, s.registryHosts)},
		{"PUT", app + "/registry-credentials/{host}", config, "Set the credentials for a registry.", take(status, s.putRegistry)},
		{"DELETE", app + "/registry-credentials/{host}", config, "Forget the credentials for a registry.", give(status, s.deleteRegistry)},
		{"DELETE", app + "/build-cache", config, "Let no later build see what earlier ones kept.", give(status, s.purgeCache)},

		{"GET", "/app-setups", read, "The user's last setups, the newest first.", give(status, s.setups)},
		{"POST", "/app-setups", manageAll, "Set an app up of a template: make it, configure it, build it, and run its postdeploy. It needs the scopes config and deploy too.", take(http.StatusAccepted, s.createSetup)},
		{"GET", oneSetup, read, "A setup. One that has failed has removed its app.", give(status, s.setup)},
		{"DELETE", oneSetup, manage, "End a setup that has not ended, and remove its app.", give(status, s.cancelSetup)},
		{"GET", oneSetup + "/log", read, "What its postdeploy prints: a page of it, or followed to its end.", logOf(s.setupLog)},
		{"GET", oneSetup + "/build/log", read, "The log of its build, also when its app is gone: a page of it, or followed to its end.", logOf(s.setupBuildLog)},

		{"POST", "/sources", deploy, "A place to put a source to, once.", give(made, s.createSource)},
		{"POST", app + "/sources", deploy, "A place to put a source to, once.", give(made, s.createSource)},
		{"PUT", "/sources/{id}/blob", signedPut, "Put a source, as tar, tar.gz or zip.", s.putSource()},
		{"GET", app + "/builds", read, "The builds.", give(status, s.builds)},
		{"POST", app + "/builds", deploy, "Build a source. What is answered is durable.", take(made, s.createBuild)},
		{"GET", oneBuild, read, "A build, by number or id, as below.", give(status, s.build)},
		{"DELETE", oneBuild, deploy, "Cancel a build.", give(status, s.cancelBuild)},
		{"POST", oneBuild + "/cancel", deploy, "Cancel a build.", give(status, s.cancelBuild)},
		{"POST", oneBuild + "/retry", deploy, "Build the source of a build again.", give(made, s.retryBuild)},
		{"GET", oneBuild + "/result", read, "How a build ended, with the end of its log in lines.", give(status, s.buildResult)},
		{"GET", oneBuild + "/log", read, "The log: a page of it, or followed to its end.", logOf(s.buildLog)},
		{"GET", "/streams/builds/{id}", signedFollow, "The log, followed to its end, without a token.", logOf(s.stream)},
		{"GET", app + "/releases", read, "The releases.", give(status, s.releases)},
		{"POST", app + "/releases", deploy, "Roll back: make a release of an earlier one's image.", take(made, s.rollback)},
		{"GET", app + "/releases/{release}", read, "A release, by version or id.", give(status, s.release)},
		{"GET", app + "/releases/{release}/log", read, "The log of a release's command: a page of it, or followed to its end.", logOf(s.releaseLog)},
		{"GET", "/streams/releases/{id}", signedFollow, "The log of a release's command, followed to its end, without a token.", logOf(s.releaseStream)},
		{"GET", app + "/releases/{release}/config-vars", config, "The app's config vars, which are the same in all releases.", give(status, s.releaseVars)},
		{"GET", app + "/oci-images", read, "The images of the app.", give(status, s.ociImages)},
		{"GET", app + "/oci-images/{digest}", read, "What is known of an image of the app.", give(status, s.ociImage)},

		{"GET", app + "/deployer", config, "What happens after a release.", give(status, s.deployer)},
		{"PUT", app + "/deployer", config, "Set what happens after a release; a command needs manage, with an administrator's token for all apps. A local one begins at once.", take(status, s.putDeployer)},
		{"GET", app + "/deployments", read, "The deployments: what became of releases at the hands of the deployer.", give(status, s.deployments)},
		{"POST", app + "/deployments", deploy, "Deploy the current release once more.", give(made, s.deployAgain)},
		{"GET", app + "/deployments/{deployment}", read, "A deployment, by number or id.", give(status, s.deployment)},
		{"GET", app + "/deployments/{deployment}/log", read, "What a deployer's command has printed, or a process until it answered: a page of it, or followed to its end.", logOf(s.deploymentLog)},
		{"POST", app + "/runs", manage, "Run a command once in the image of a release, with the config vars: its output has what the command makes of them.", take(made, s.createRun)},
		{"GET", oneRun, manage, "A run, by id, as long as the service remembers it.", give(status, s.run)},
		{"DELETE", oneRun, manage, "End a run, with all that it has started.", give(status, s.cancelRun)},
		{"GET", oneRun + "/log", manage, "What a run has printed: a page of it, or followed to its end.", logOf(s.runLog)},
		{"GET", app + "/log", read, "The last of what the app has printed that runs here; followed, what it prints from then on too.", s.appLogRoute()},

		{"GET", app + "/hooks", read, "The hooks, without their URLs and secrets.", give(status, s.hooks)},
		{"POST", app + "/hooks", config, "Make a hook: its URL and secret are for a forge, and are told this once. The scope deploy is needed too, as below.", take(made, s.createHook)},
		{"GET", oneHook, read, "A hook.", give(status, s.hook)},
		{"PATCH", oneHook, config, "Change what a hook builds.", take(status, s.changeHook)},
		{"DELETE", oneHook, config, "Delete a hook with its journal.", give(status, s.deleteHook)},
		{"POST", oneHook + "/rotate", config, "Give a hook another secret, and another URL where that is wanted.", take(status, s.rotateHook)},
		{"GET", oneHook + "/deliveries", read, "The journal: what forges have sent, and what became of it.", give(status, s.deliveries)},
		{"GET", oneHook + "/deliveries/{delivery}", read, "A delivery, by number or id.", give(status, s.delivery)},
		{"POST", oneHook + "/deliveries/{delivery}/redeliver", deploy, "Decide about a delivery again, with the rule that there is now.", give(status, s.redeliver)},
		{"POST", "/hooks/{token}", hooked, "Take what a forge sends: a push, as GitHub, GitLab, Gitea, Forgejo and Bitbucket tell of it.", s.receiver()},

		{"GET", "/stacks", bearer, "The stacks, of which there is one.", give(status, s.stacks)},
		{"GET", "/stacks/{name}", bearer, "A stack, by name or id.", give(status, s.stack)},
		{"GET", app + "/available-stacks", read, "The stacks, of which there is one.", give(status, s.stacks)},
		{"GET", "/regions", bearer, "The regions, of which there is one.", give(status, s.regions)},
		{"GET", "/regions/{name}", bearer, "A region, by name or id.", give(status, s.region)},
		{"GET", "/buildpacks", nobody, "The buildpacks of the default builder, and of the service's index unless that is private.", give(status, s.catalog)},
		{"GET", "/buildpacks/{id}", nobody, "A buildpack of those, by id.", give(status, s.catalogEntry)},
		{"GET", "/buildpacks/{id}/revisions", nobody, "Its versions.", give(status, s.revisions)},
		{"GET", "/buildpacks/{id}/readme", nobody, "Its readme, which is empty.", give(status, s.readme)},
		{"POST", "/registry/buildpacks", publish, "Register an image as a version of a buildpack, in the service's index. What is answered is durable; 200: it was there already.", also(take(made, s.registerBuildpack), status)},
		{"PATCH", "/registry/buildpacks/{ns}/{name}/{version}", publish, "Yank a version of a buildpack in the service's index, or take that back.", take(status, s.yankBuildpack)},
		{"GET", "/registry/health", bearer, "Whether the images of the indexes are there, of the service's own and of those that its builds look into, as it was last seen.", give(status, s.registryHealth)},
		{"GET", "/registry/namespaces", bearer, "The namespaces of the service's index, and whose they are.", give(status, s.namespaces)},
		{"PUT", "/registry/namespaces/{ns}", publish, "Have a namespace that is nobody's, or hand on one's own.", take(status, s.giveNamespace)},
		{"GET", "/api/v1/search", public, "Find buildpacks of the service's index by words in their names and descriptions. Link and Total-Count tell of more pages.", s.searchRoute()},
		{"GET", "/api/v1/buildpacks/{ns}/{name}", public, "A buildpack of the service's index, with its versions.", give(status, s.registryOne)},
		{"GET", "/api/v1/buildpacks/{ns}/{name}/{version}", public, "A version of a buildpack of the service's index.", give(status, s.registryVersionOf)},
		{"GET", app + "/webhooks", config, "The webhooks that are told of the app's events, without their secrets.", give(status, s.webhooks)},
		{"POST", app + "/webhooks", config, "Make a webhook: its secret is told this once.", take(made, s.createWebhook)},
		{"GET", oneWebhook, config, "A webhook.", give(status, s.webhook)},
		{"PATCH", oneWebhook, config, "Change a webhook, and enable it.", take(status, s.changeWebhook)},
		{"DELETE", oneWebhook, config, "Delete a webhook with its deliveries.", give(status, s.deleteWebhook)},
		{"GET", app + "/webhook-deliveries", read, "The deliveries: what was sent to webhooks, or is to be, and what became of it.", give(status, s.outgoing)},
		{"GET", oneOutgoing, read, "A delivery to a webhook, by number or id.", give(status, s.outgoingOne)},
		{"POST", oneOutgoing + "/actions/redeliver", config, "Send a delivery again.", give(status, s.outgoingAgain)},
		{"GET", app + "/webhook-events", read, "The events that webhooks are told of.", give(status, s.events)},
		{"GET", app + "/webhook-events/{event}", read, "An event.", give(status, s.event)},
		{"GET", app + "/forge", read, "The forge that is told of the app's builds, without the token.", give(status, s.forge)},
		{"PUT", app + "/forge", config, "Have a forge told of the app's builds, as statuses of their commits.", take(status, s.putForge)},
		{"DELETE", app + "/forge", config, "Tell no forge any more.", give(status, s.deleteForge)},
		{"GET", app + "/statuses", read, "What the forge was told of commits, or is to be told, and what became of it.", give(status, s.statuses)},
		{"GET", oneStatus, read, "A status of a commit, by number or id.", give(status, s.statusOne)},
		{"POST", oneStatus + "/actions/redeliver", config, "Tell the forge again; not where it was told something newer.", give(status, s.statusAgain)},

		{"GET", "/status", bearer, "How the service is doing.", give(status, s.status)},
		{"GET", "/healthz", nobody, "The process answers.", raw(s.healthz, "text/plain")},
		{"GET", "/readyz", nobody, "The service can do its work, or one line why not.", raw(s.readyz, "text/plain")},
		{"GET", "/openapi.json", nobody, "This document.", endpoint{status: status, media: []string{"application/json"}, document: true, serve: s.healthz}},
	}...)
}

// nothings are the routes to what there is none of.
func (s *server) nothings() (all []route) {
	for _, path := range []string{
		"/addons", "/addon-attachments", "/addon-services", "/account/features", "/oauth/authorizations", "/oauth/sessions", "/teams", "/pipelines", "/spaces",
		"/apps/{app}/addons", "/apps/{app}/addon-attachments", "/apps/{app}/features", "/apps/{app}/domains", "/apps/{app}/dynos", "/apps/{app}/formation",
		"/apps/{app}/log-drains", "/apps/{app}/sni-endpoints",
	} {
		r := route{"GET", path, bearer, "An empty list: a service that builds has none of them.", give(http.StatusOK, s.none)}
		if r.inApp() {
			r.need = read
		}
		all = append(all, r)
	}
	return all
}
