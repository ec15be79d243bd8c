# make demo: install, train three small models, serve them.   make test: install, run all tests.

PYTHON ?= python3
PORT ?= 8000
HOST ?= 127.0.0.1
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
STARTERS := digits-vae faces-cvae faces-dcgan
STARTER_BUNDLES := $(STARTERS:%=bundles/%/config.json)

.DEFAULT_GOAL := help
.PHONY: help install demo test check format verify verify-densities verify-autoencoders \
	verify-adversarial verify-boltzmann verify-serving verify-metrics bench-serve clean

help:
	@echo "make demo     install, train three starter bundles, serve them on http://$(HOST):$(PORT)"
	@echo "make test     install what is missing and run the whole test suite"
	@echo "make install  make .venv with everything, tests and linters included"
	@echo "make check    lint, types, import contracts"
	@echo "make verify   slow checks against published figures (DATA_ROOT=folder with MNIST)"
	@echo "make verify-densities  every likelihood of docs/results/densities.md, trained and measured (a day)"
	@echo "make verify-autoencoders  the same of docs/results/autoencoders.md (half a day)"
	@echo "make verify-adversarial  the same of docs/results/adversarial.md (half a day)"
	@echo "make verify-boltzmann  likelihoods of Boltzmann machines and what pre-training does (a day)"
	@echo "make verify-serving  the engine's promises against a real server (about twenty minutes)"
	@echo "make verify-metrics  metrics' speed and memory beside others' implementations (half an hour)"
	@echo "make bench-serve  measure the service beside other servers (SECONDS=8 a cell, ROUNDS=3; needs wrk)"

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

# Two stamps: serving and training need less than testing, and a newcomer waits for the first.
.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing latentd into .venv (once; a minute or two)"
	$(PIP) install -c constraints.txt -e .
	@touch $@

.venv/installed-dev: .venv/installed
	@echo "installing the test tools into .venv (once)"
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

install: .venv/installed-dev

bundles/%/config.json: | .venv/installed
	$(BIN)/latentd train starter-$* --out bundles/$* --resume

demo: .venv/installed $(STARTER_BUNDLES)
	@PORT=$(PORT) HOST=$(HOST) sh deploy/try.sh
	@exec $(BIN)/latentd serve --host $(HOST) --port $(PORT)

# Two processes at once, about as long: the service's tests, which share one server, with those of
# metrics and those that run the command line; and all others.
PROGRAMS := tests/service service tests/metrics metrics $(addprefix tests/training/test_,commands.py crash.py processes.py)
test: .venv/installed-dev
	@$(BIN)/python -m pytest $(PROGRAMS) > .pytest-service.log 2>&1 & service=$$!; \
	$(BIN)/python -m pytest $(addprefix --ignore=,$(PROGRAMS)); others=$$?; \
	wait $$service; found=$$?; cat .pytest-service.log; rm -f .pytest-service.log; \
	exit $$((others | found))

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Trains to the figures of docs/results and measures them again: about an hour on two cores.
VERIFY_DATA = $(or $(DATA_ROOT),$(error make verify needs DATA_ROOT=folder with MNIST's files))
verify: .venv/installed-dev
	$(BIN)/python -m verify.pca --data-root $(VERIFY_DATA)
	$(BIN)/latentd train mnist-vae-static --data-root $(VERIFY_DATA) --resume
	$(BIN)/latentd train mnist-vae-dynamic --data-root $(VERIFY_DATA) --resume
	$(BIN)/python -m verify.vae bundles/mnist-vae-static --data-root $(VERIFY_DATA)
	$(BIN)/python -m verify.vae bundles/mnist-vae-dynamic --data-root $(VERIFY_DATA)
	$(BIN)/latentd train faces-cvae --resume
	$(BIN)/python -m verify.cvae bundles/faces-cvae
	$(BIN)/latentd train faces-dcgan --resume
	$(BIN)/python -m tests.training.crash --kills 10

# Long lists of trainings: one that was cut off goes on where it was, one that is done ends at once.
trained = for recipe in $(1); do \
	$(BIN)/latentd train $$recipe --data-root $(VERIFY_DATA) --resume || exit; done
bundles_of = $(addprefix bundles/,$(1))
STATIC := mnist-mixture-10 mnist-mixture-500 mnist-made mnist-made-large mnist-transformer mnist-pixelcnn
GREY := mnist-nice mnist-glow mnist-pixelcnn-grey mnist-diffusion
POINTS := points-histogram points-mixture points-toy-autoregressive points-spline-flow
verify-densities: .venv/installed-dev
	$(call trained,$(STATIC) $(GREY) mnist-kmeans mnist-vae-static $(POINTS))
	$(BIN)/python -m verify.likelihood $(call bundles_of,$(STATIC)) --data-root $(VERIFY_DATA)
	$(BIN)/python -m verify.likelihood $(call bundles_of,$(filter-out mnist-diffusion,$(GREY))) \
		--variant grey --data-root $(VERIFY_DATA)
	$(BIN)/python -m verify.likelihood bundles/mnist-nice \
		--variant grey --effort 10 --data-root $(VERIFY_DATA)
	$(BIN)/python -m verify.curves runs/mnist-nice runs/mnist-glow --wanted 4.4 1.3 \
		--metrics bits_per_dimension validation_bits_per_dimension \
		--picture docs/images/flow-curves.png
	$(BIN)/python -m verify.likelihood bundles/mnist-diffusion \
		--variant grey --effort 50 --rows 200 --data-root $(VERIFY_DATA)
	$(BIN)/python -m verify.likelihood bundles/mnist-diffusion \
		--variant grey --method ode --rows 50 --data-root $(VERIFY_DATA)
	$(BIN)/python -m verify.mixtures --data-root $(VERIFY_DATA) --starts k-means++ random --seeds 5
	$(BIN)/python -m verify.kmeans bundles/mnist-kmeans --data-root $(VERIFY_DATA)
	$(BIN)/python -m verify.points $(call bundles_of,points-spline-flow points-toy-autoregressive)
	$(BIN)/python -m verify.density_pictures $(call bundles_of,$(POINTS)) \
		--picture docs/images/densities.png
	$(BIN)/python -m verify.cached_sampling bundles/mnist-pixelcnn
	$(BIN)/python -m verify.diffusion_steps bundles/mnist-diffusion --data-root $(VERIFY_DATA) \
		--picture docs/images/diffusion-steps.png
	$(BIN)/python -m verify.compression $(call bundles_of,mnist-mixture-10 mnist-made mnist-vae-static) \
		--data-root $(VERIFY_DATA)
	$(BIN)/python -m verify.anomalies --data-root $(VERIFY_DATA) --rows 500 \
		$(call bundles_of,mnist-mixture-10 mnist-made mnist-vae-static mnist-pixelcnn)
	$(BIN)/python -m verify.anomalies --data-root $(VERIFY_DATA) --rows 500 \
		$(call bundles_of,mnist-glow mnist-nice) --variant grey

CODES := mnist-pca mnist-logistic-pca mnist-autoencoder mnist-denoising mnist-contractive \
	mnist-vae-dynamic mnist-vqvae
RECONSTRUCTING := $(foreach recipe,mnist-autoencoder mnist-logistic-pca mnist-pca,\
	$(recipe) $(foreach numbers,2 6,$(recipe)-$(numbers)))
SHAPES := shapes-beta-vae
FACES := faces-vae faces-vae-gan
verify-autoencoders: .venv/installed-dev
	$(call trained,$(CODES) $(SHAPES) $(FACES))
	for bits in 32 64 128 256; do $(BIN)/latentd train mnist-semantic-hash \
		--set model.latent_width=$$bits --out bundles/mnist-semantic-hash-$$bits --resume \
		--data-root $(VERIFY_DATA) || exit; done
	for beta in 1 8; do $(BIN)/latentd train shapes-beta-vae --set model.beta=$$beta \
		--out bundles/shapes-beta-vae-$$beta --resume || exit; done
	for numbers in 2 6; do \
		$(BIN)/latentd train mnist-pca --set model.components=$$numbers --resume \
			--out bundles/mnist-pca-$$numbers --data-root $(VERIFY_DATA) || exit; \
		$(BIN)/latentd train mnist-logistic-pca --set model.latent_width=$$numbers --resume \
			--out bundles/mnist-logistic-pca-$$numbers --data-root $(VERIFY_DATA) || exit; \
		$(BIN)/latentd train mnist-autoencoder --set model.latent_width=$$numbers --resume \
			--set training.epochs=15 --out bundles/mnist-autoencoder-$$numbers \
			--data-root $(VERIFY_DATA) || exit; done
	$(BIN)/python -m verify.table $(call bundles_of,$(RECONSTRUCTING)) \
		--metrics test_reconstruction_squared_error
	$(BIN)/python -m verify.linear_probes $(call bundles_of,$(CODES)) --data-root $(VERIFY_DATA)
	$(BIN)/python -m verify.denoising bundles/mnist-denoising --data-root $(VERIFY_DATA)
	$(BIN)/python -m verify.code_priors bundles/mnist-autoencoder bundles/mnist-vae-dynamic \
		--data-root $(VERIFY_DATA) --picture docs/images/code-priors.png
	$(BIN)/python -m verify.retrieval --search \
		$(foreach bits,32 64 128 256,bundles/mnist-semantic-hash-$(bits)) --data-root $(VERIFY_DATA)
	$(BIN)/python -m verify.contractive_cost
	$(BIN)/python -m verify.disentanglement $(call bundles_of,$(SHAPES)) \
		$(foreach beta,1 8,bundles/shapes-beta-vae-$(beta))
	$(BIN)/python -m verify.traversals bundles/shapes-beta-vae-8 \
		--picture docs/images/traversals.png
	$(BIN)/python -m verify.sharpness $(call bundles_of,$(FACES)) --picture docs/images/faces.png
	$(BIN)/python -m verify.face_arithmetic bundles/faces-vae-gan \
		--picture docs/images/face-arithmetic.png

# Of each data set all have the same budget of one core's time at each size.
GAMES := gan-32 improved-gan wgan wgan-gp progan
DOTS := gan minibatch-gan wgan wgan-gp
SEEDS := 1 2 3 4 5
DENSE := --set model.dense_generator=true --set model.hidden=[512,512,512,512] \
	--set model.generator_normalisation=none
UNSTABLE := gan-32-dense wgan-dense gan-32-unnormalised wgan-unnormalised
FRAMES := 100 500 2000 10000
GROWING := a b c d e-discrimination e f g
PARTS := training $(foreach side,8 16 32 64 128,stages.fade_$(side) stages.hold_$(side))
verify-adversarial: .venv/installed-dev
	$(call trained,$(foreach data,mnist faces,$(addprefix $(data)-,$(GAMES))) mnist-dcgan-64)
	for dots in $(DOTS); do for seed in $(SEEDS); do \
		$(BIN)/latentd train points-$$dots --seed $$seed --out bundles/points-$$dots-$$seed \
			--resume || exit; done; done
	for dots in $(DOTS); do \
		$(BIN)/python -m verify.modes $(foreach seed,$(SEEDS),bundles/points-$$dots-$(seed)) || exit; done
	$(BIN)/latentd train points-gan --set training.sample_every=100 --out bundles/points-gan-frames \
		--resume
	$(BIN)/python -m verify.side_by_side --picture docs/images/gan-panels.png \
		--titles $(foreach step,$(FRAMES),"step $(step)") -- \
		$$(printf "runs/points-gan-frames/samples/step-%09d.png " $(FRAMES))
	for family in gan-32 wgan; do \
		$(BIN)/latentd train faces-$$family $(DENSE) --out bundles/faces-$$family-dense \
			--resume || exit; \
		$(BIN)/latentd train faces-$$family --set model.generator_normalisation=none \
			--out bundles/faces-$$family-unnormalised --resume || exit; done
	$(BIN)/python -m verify.side_by_side $(foreach name,$(UNSTABLE),bundles/faces-$(name)/samples.png) \
		--picture docs/images/stability.png
	$(BIN)/python -m verify.gan_table $(addprefix bundles/mnist-,$(GAMES)) --data-root $(VERIFY_DATA)
	$(BIN)/python -m verify.gan_table $(addprefix bundles/faces-,$(GAMES) $(UNSTABLE))
	for data in mnist faces; do \
		for game in gan-32:2000 improved-gan:1100 wgan:700 wgan-gp:450; do \
			recipe=$$data-$${game%:*}; \
			$(BIN)/latentd train $$recipe --set data.options.size=64 --set model.channels=8 \
				--set training.steps=$${game#*:} --out bundles/$${recipe%-32}-64 \
				--resume --data-root $(VERIFY_DATA) || exit; done; \
		$(BIN)/latentd train $$data-progan-64 --resume --data-root $(VERIFY_DATA) || exit; \
		$(BIN)/python -m verify.gan_table --data-root $(VERIFY_DATA) \
			$$(printf "bundles/$$data-%s-64 " gan improved-gan wgan wgan-gp progan) || exit; done
	$(BIN)/python -m verify.gan_table bundles/mnist-dcgan-64 --count 16384 --data-root $(VERIFY_DATA)
	$(BIN)/python -m verify.growing_ablation --rows $(GROWING)
	$(BIN)/python -m verify.gan_table $(addprefix bundles/growing-,$(GROWING))
	$(BIN)/latentd train faces-progan-128 --set data.options.count=200 --set model.inversion_steps=2 \
		--set evaluation.rows=8 --set evaluation.search_rows=1 --set bundle.reference_rows=8 \
		$(foreach part,$(PARTS),--set $(part).steps=2 --set $(part).batch_size=4) \
		--out bundles/faces-progan-128-smoke --resume
	$(BIN)/python -m verify.training_speed faces-dcgan

# Exact likelihoods of few hidden units, annealed ones of many, deep machines, and what they begin.
DEEP := mnist-dbn mnist-dbn-classes mnist-dbm
FEW := mnist-rbm-16 mnist-rbm-16-uncentred mnist-rbm-20-cd mnist-rbm-20-cd-3 mnist-rbm-20-cd-25
MANY := mnist-rbm mnist-rbm-cd-1 mnist-rbm-cd-3 mnist-rbm-pcd
verify-boltzmann: .venv/installed-dev
	$(call trained,mnist-rbm-16 mnist-rbm-20-cd mnist-rbm $(DEEP) mnist-pretrained-autoencoder)
	$(BIN)/latentd train mnist-rbm-16 --set model.centred=false --resume \
		--out bundles/mnist-rbm-16-uncentred --data-root $(VERIFY_DATA)
	for k in 3 25; do $(BIN)/latentd train mnist-rbm-20-cd --set model.gibbs_steps=$$k --resume \
		--out bundles/mnist-rbm-20-cd-$$k --data-root $(VERIFY_DATA) || exit; done
	for k in 1 3; do $(BIN)/latentd train mnist-rbm --set model.gibbs_steps=$$k --resume \
		--out bundles/mnist-rbm-cd-$$k --data-root $(VERIFY_DATA) || exit; done
	$(BIN)/latentd train mnist-rbm --set 'model.negative="pcd"' --set model.gibbs_steps=1 \
		--set training.momentum=0.5 --resume --out bundles/mnist-rbm-pcd --data-root $(VERIFY_DATA)
	$(BIN)/python -m verify.boltzmann $(call bundles_of,$(FEW) $(MANY) $(DEEP)) \
		--data-root $(VERIFY_DATA)
	$(BIN)/python -m verify.table $(call bundles_of,mnist-pretrained-autoencoder mnist-autoencoder) \
		--metrics test_reconstruction_squared_error
	$(BIN)/python -m verify.pretraining --data-root $(VERIFY_DATA)
	$(BIN)/latentd train shapes-shape-bm --resume
	$(BIN)/python -m verify.boltzmann_pictures filters bundles/mnist-rbm \
		--picture docs/images/rbm-filters.png
	$(BIN)/python -m verify.boltzmann_pictures classes bundles/mnist-dbn-classes \
		--picture docs/images/dbn-classes.png
	$(BIN)/python -m verify.boltzmann_pictures completions bundles/shapes-shape-bm \
		--picture docs/images/shape-completions.png
	$(BIN)/python -m verify.annealing_seeds
	$(BIN)/python -m verify.rbm_speed --data-root $(VERIFY_DATA)

# Equal bytes, mixed load, overload, hang-ups, swaps, load and unload, the end, idleness.
verify-serving: .venv/installed-dev
	$(BIN)/python -m verify.serving

# Beside whichever of torchmetrics, torch-fidelity, prdc and pytorch-msssim are installed.
verify-metrics: .venv/installed-dev
	$(BIN)/python -m verify.metric_speed --rows 5000
	$(BIN)/python -m verify.metric_speed --memory-rows 50000

# The service beside LitServe, BentoML, Ray Serve and FastAPI; about two hours on two cores.
SECONDS ?= 8
ROUNDS ?= 3
BENCH_REPORT ?= docs/results/serving.md
bench-serve: .venv/installed
	sh benchmarks/setup.sh
	$(BIN)/python -m benchmarks.bundles
	$(BIN)/python -m benchmarks.serve --seconds $(SECONDS) --rounds $(ROUNDS) \
		--report $(BENCH_REPORT) $(BENCH)

clean:
	rm -rf .venv bundles runs build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
