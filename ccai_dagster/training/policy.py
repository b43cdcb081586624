"""The policy: reinforcement learning from AI feedback (Bai et al. 2022, section 4).

The reward of a response is the preference model's score minus the KL penalty against the supervised
policy; the gradient is estimated by REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024), which
takes the place of the proximal policy optimisation of the original study.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ccai_dagster.digest import folder_digest
from ccai_dagster.errors import ConsultationError
from ccai_dagster.feedback.chat import rendered, without_control_tokens
from ccai_dagster.progress import Progress, silent
from ccai_dagster.settings import PolicySettings
from ccai_dagster.training import runs
from ccai_dagster.training.model_folder import load_model, load_tokenizer, saved_dtype
from ccai_dagster.training.outcome import TrainingOutcome, ends, history_table

FIGURES = {"reward": "reward", "kl": "kl", "length": "completions/mean_length"}
"""What is summarised, and what the trainer calls it."""


def train_policy(
    supervised: Path,
    preference_model: Path,
    prompts: Sequence[str],
    settings: PolicySettings,
    seed: int,
    work: Path,
    output: Path,
    progress: Progress = silent,
) -> TrainingOutcome:
    """Train the supervised policy against the preference model.

    Args:
        supervised: Folder of the supervised policy, which is also the reference of the KL penalty.
        preference_model: Folder of the preference model; its chat template must be the policy's.
        prompts: What users say; their order does not matter.
        settings: Steps, samples, length, KL weight, learning rate, adapter.
        seed: The consultation's seed.
        work: Folder for checkpoints; a training that was stopped resumes from it.
        output: Folder that the model is saved in, in the number format of the supervised policy.
        progress: Told every step.

    Returns:
        Metrics, each as the mean of the first and of the last tenth of the steps: `reward` (score of the
        preference model, without the penalty), `kl` (nats a token against the supervised policy), `length`
        (tokens a response).

    Raises:
        ConsultationError: No prompts, or one that does not fit into the model's context.
    """
    from datasets import Dataset
    from trl import RLOOConfig, RLOOTrainer

    if not prompts:
        raise ConsultationError("prompts.csv: no prompt has the purpose `policy`. Add some rows with it.")
    dtype = saved_dtype(supervised)
    ordered = sorted(set(prompts))
    runs.prepare_work(
        work,
        stage="policy",
        supervised=folder_digest(supervised),
        preference_model=folder_digest(preference_model),
        prompts=ordered,
        settings=settings.digest(),
        seed=seed,
    )
    tokenizer = load_tokenizer(supervised)
    tokenizer.padding_side = "left"
    model = load_model(supervised)
    longest = max(
        len(tokenizer(rendered(tokenizer, [("user", text)], open_turn=True)).input_ids) for text in ordered
    )
    if longest + settings.new_tokens > model.config.max_position_embeddings:
        raise ConsultationError(
            f"prompts.csv: a prompt of {longest} tokens and a response of {settings.new_tokens} do not fit "
            f"into the model's {model.config.max_position_embeddings} tokens. Shorten the longest prompt "
            "with the purpose `policy`."
        )
    batch = settings.prompts_per_step * settings.samples_per_prompt
    size, passes = runs.per_device(batch, longest + settings.new_tokens)
    scorer_tokenizer = load_tokenizer(preference_model)
    scorer = load_model(preference_model, scores=True).eval()
    runs.seed_everything(seed)
    trainer = RLOOTrainer(
        model=model,
        reward_funcs=scorer,
        reward_processing_classes=scorer_tokenizer,
        args=RLOOConfig(
            **runs.training_arguments(
                work, steps=settings.steps, learning_rate=settings.learning_rate, dtype=dtype, seed=seed
            ),
            per_device_train_batch_size=size,
            gradient_accumulation_steps=passes,
            num_generations=settings.samples_per_prompt,
            max_completion_length=settings.new_tokens,
            temperature=settings.temperature,
            beta=settings.kl_weight,
            shuffle_dataset=False,
        ),
        train_dataset=Dataset.from_list(
            [
                {"prompt": [{"role": "user", "content": without_control_tokens(tokenizer, ordered[at])}]}
                for at in runs.order(len(ordered), settings.steps * settings.prompts_per_step, seed)
            ]
        ),
        processing_class=tokenizer,
        peft_config=runs.adapter(settings.lora_rank),
    )
    runs.train(trainer, work, "policy training steps", progress)
    history = history_table(trainer.state.log_history)
    runs.save_trained(trainer, supervised, seed, output)
    metrics = {"prompts": float(len(ordered))}
    for name, logged in FIGURES.items():
        if found := ends(history, logged):
            metrics |= {f"{name}_first": found[0], f"{name}_last": found[1]}
    return TrainingOutcome(metrics, history)
