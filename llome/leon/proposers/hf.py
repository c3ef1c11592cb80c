"""A causal language model in memory: a Hugging Face directory or hub id. No code of a model repository is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llome.errors import ConfigError, PolicyError, ProposerError
from llome.leon.proposing import Answer, Request
from llome.policy.devices import claim_gpus, pick_device


class Local:
    """A proposer; the same request on the same device gives the same answer."""

    def __init__(
        self,
        *,
        model: str,
        device: str = "auto",
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 1024,
    ) -> None:
        """Load it: in bfloat16 on a GPU, in float32 elsewhere.

        Args:
            model: directory or hub id.
            device: auto, cpu, cuda, cuda:1, mps.
            temperature: of sampling; 0: always the likeliest token.
            top_p: share of the probability that tokens are drawn from.
            max_tokens: of an answer.

        Raises:
            ConfigError: an impossible setting.
            PolicyError: no such model or device.
        """
        for name, value, good in (
            ("temperature", temperature, 0 <= temperature < float("inf")),
            ("top_p", top_p, 0 < top_p <= 1),
            ("max_tokens", max_tokens, max_tokens >= 1),
        ):
            if not good:
                raise ConfigError(
                    f"proposer: {name} is {value}; temperature is 0 or more, top_p within (0, 1], max_tokens 1 or more"
                )
        import torch

        from llome.policy.causal_lm import load_pretrained

        claim_gpus()
        self._device = pick_device(device)
        dtype = torch.bfloat16 if self._device.startswith("cuda") else torch.float32
        model_, self._tokenizer = load_pretrained(model, dtype=dtype)
        try:
            self._model = model_.to(self._device)
        except RuntimeError as err:
            raise PolicyError(
                f"{model} does not fit on {self._device}: {str(err).splitlines()[0]}; choose a smaller one"
            ) from err
        self._name = Path(model).name
        self._sampling: dict[str, Any] = {"do_sample": temperature > 0, "max_new_tokens": max_tokens}
        if temperature > 0:
            self._sampling |= {"temperature": temperature, "top_p": top_p, "top_k": 0}

    @property
    def name(self) -> str:
        """Last part of the directory's or the hub's name."""
        return self._name

    def propose(self, request: Request) -> Answer:
        """See `Proposer`. Raises ProposerError where the prompt is too long for the model."""
        import torch

        tokens = self._encode(request.messages())
        prompt = tokens.shape[1]
        longest = getattr(self._model.config, "max_position_embeddings", None)
        if longest is not None and prompt + self._sampling["max_new_tokens"] > longest:
            raise ProposerError(
                f"the prompt has {prompt} tokens, which with max_tokens {self._sampling['max_new_tokens']} is more than the {longest} of"
                f" {self.name}; lower max_tokens or settings.shown, or take a model of a longer context"
            )
        gpus = [self._device] if self._device.startswith("cuda") else []
        with torch.no_grad(), torch.random.fork_rng(devices=gpus):
            torch.manual_seed(request.seed)
            out = self._model.generate(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                pad_token_id=self._tokenizer.pad_token_id,
                **self._sampling,
            )
        answer = out[0, prompt:]
        ended = (answer == self._tokenizer.eos_token_id).nonzero()
        count = int(ended[0]) + 1 if len(ended) else len(answer)
        return Answer(self._tokenizer.decode(answer, skip_special_tokens=True), prompt, count)

    def _encode(self, messages: Sequence[Mapping[str, str]]) -> Any:
        """(1, T) tokens of a prompt, by the model's chat template where it has one."""
        from jinja2 import TemplateError

        if self._tokenizer.chat_template is None:
            text = "\n\n".join(message["content"] for message in messages) + "\n\n"
        else:
            options = {"tokenize": False, "add_generation_prompt": True}
            try:
                text = self._tokenizer.apply_chat_template(list(messages), **options)
            except TemplateError:  # one that knows no system messages
                joined = "\n\n".join(message["content"] for message in messages)
                text = self._tokenizer.apply_chat_template([{"role": "user", "content": joined}], **options)
        special = self._tokenizer.chat_template is None  # a template writes its own
        encoded = self._tokenizer(text, return_tensors="pt", add_special_tokens=special)
        return encoded["input_ids"].to(self._device)
